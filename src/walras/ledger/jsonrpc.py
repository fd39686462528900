"""Any EVM node by JSON-RPC over HTTP (web3.py): a permissioned chain, an L2, a test node. The rules of `Chain` hold.

Sending is at-least-once and counted once: a transaction is known by its hash, so bytes that a node already has, or whose
receipt is already there, are recognised and not an error. Receipts are polled until a time-out, after which the transaction
may still be included: send the same bytes again later, never a new one in its place. Clock and sleep are arguments.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

from walras.ledger import _keccak  # noqa: F401  # isort: skip - chooses the hash backend before web3 loads it
from eth_typing import BlockNumber
from eth_utils.address import to_checksum_address
from web3 import Web3
from web3.exceptions import BlockNotFound, TransactionNotFound, Web3Exception, Web3RPCError
from web3.providers.rpc.utils import ExceptionRetryConfiguration
from web3.types import BlockIdentifier, RPCEndpoint

from walras.errors import LedgerError
from walras.ledger.abi import Revert, read_revert
from walras.ledger.chain import FoundLog, Head, Log, Receipt, Rehearsal
from walras.ledger.node_errors import FOREIGN, check_address, no_evm, node_error, refusal_in
from walras.ledger.transactions import Fees, SentTransaction, read_transaction

_TRACE = RPCEndpoint("debug_traceTransaction")
ETHER = 10**18
_ALREADY = ("already known", "already imported", "known transaction")


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """How patient the client is: seconds for one HTTP answer, for a receipt, and between two looks for it.

    `confirmations` further blocks must stand on a receipt's block before it counts; 0 fits chains with instant finality.
    """

    request_timeout_s: float = 10.0
    receipt_timeout_s: float = 60.0
    poll_interval_s: float = 0.02
    confirmations: int = 0


class JsonRpcChain:
    """`Chain` on a node at `url`. One client a thread."""

    def __init__(
        self,
        url: str,
        *,
        expected_chain_id: int | None = None,
        settings: NodeSettings = NodeSettings(),
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        check_address(url)
        once = ExceptionRetryConfiguration(errors=(), retries=1)  # what may be sent again is decided here, by its hash
        provider = Web3.HTTPProvider(
            url, request_kwargs={"timeout": settings.request_timeout_s}, exception_retry_configuration=once
        )
        self._url, self._settings, self._monotonic, self._sleep = url, settings, monotonic, sleep
        self._provider = provider
        self._eth = Web3(provider).eth
        self._nonces: dict[str, int] = {}
        self._state: BlockIdentifier = "latest"
        said = self._ask("chain id", lambda: self._eth.chain_id)
        if not isinstance(said, int):
            raise no_evm(url, f"its chain id is {said}")
        self._chain_id = said
        if expected_chain_id is not None and self._chain_id != expected_chain_id:
            raise LedgerError(
                f"the node at {url} is of chain {self._chain_id}, expected {expected_chain_id}",
                thing=self._chain_id,
                way_out="give the address of a node of the right chain",
            )

    @property
    def chain_id(self) -> int:
        """EIP-155 chain id, as the node says."""
        return self._chain_id

    def as_of(self, block: int) -> JsonRpcChain:
        """A client whose calls, storage and code are of the state after `block`."""
        past = copy(self)
        past._state = BlockNumber(block)
        return past

    def send(self, raw: bytes, *, timestamp: int) -> Receipt:
        """Submit unless already included, then wait for the receipt. The node's own clock dates the block."""
        sent = read_transaction(raw)
        found = self.receipt(sent.hash)
        if found is None:
            if self._included(sent.hash) is None:  # it may be in a block that does not count yet
                self._submit(raw, sent)
            found = self._wait(sent)
        nonce = sent.transaction.nonce + 1
        self._nonces[sent.sender] = max(nonce, self._nonces.get(sent.sender, 0))
        return found

    def rehearse(self, raw: bytes) -> Rehearsal:
        """By `eth_estimateGas`: gas as the node estimates it, or the refusal."""
        request = _request(read_transaction(raw))
        try:
            return Rehearsal(int(self._eth.estimate_gas(request)), None)  # type: ignore[arg-type]
        except FOREIGN as cause:
            refusal = refusal_in(cause)
            if refusal is None:
                raise node_error(self._url, "rehearsal", cause) from cause
            return Rehearsal(0, refusal)

    def call(self, to: str, data: bytes, *, sender: str | None = None) -> bytes:
        """By `eth_call`, on the newest block unless `as_of` says another."""
        request: dict[str, Any] = {"to": to_checksum_address(to), "data": data}
        if sender is not None:
            request["from"] = sender
        return bytes(self._ask(f"call to {to}", lambda: self._eth.call(request, self._state)))  # type: ignore[arg-type]

    def receipt(self, transaction_hash: bytes) -> Receipt | None:
        """From the node; None where it does not know the transaction or has not included it."""
        found = self._included(transaction_hash)
        if found is None:
            return None
        if self._settings.confirmations and self.head().number < found["blockNumber"] + self._settings.confirmations:
            return None
        block = self._ask("block", lambda: self._eth.get_block(found["blockNumber"]))
        logs = tuple(
            Log(to_checksum_address(log["address"]), tuple(bytes(t) for t in log["topics"]), bytes(log["data"]))
            for log in found["logs"]
        )
        return Receipt(
            transaction_hash=bytes(found["transactionHash"]),
            status=found["status"],
            gas_used=found["gasUsed"],
            block_number=found["blockNumber"],
            timestamp=block["timestamp"],
            logs=logs,
            refusal=None if found["status"] == 1 else self._why(found),
        )

    def nonce(self, address: str) -> int:
        """The node's count with what waits, or one above the last sent from here where the node lags behind."""
        count = int(self._ask("nonce", lambda: self._eth.get_transaction_count(to_checksum_address(address), "pending")))
        return max(count, self._nonces.get(to_checksum_address(address), 0))

    def storage(self, address: str, slot: int) -> int:
        """By `eth_getStorageAt`."""
        where = to_checksum_address(address)
        return int.from_bytes(self._ask("storage", lambda: self._eth.get_storage_at(where, slot, self._state)), "big")

    def code(self, address: str) -> bytes:
        """By `eth_getCode`."""
        return bytes(self._ask("code", lambda: self._eth.get_code(to_checksum_address(address), self._state)))

    def head(self) -> Head:
        """The node's newest block."""
        block = self._ask("newest block", lambda: self._eth.get_block("latest"))
        return Head(block["number"], block["timestamp"], bytes(block["hash"]), bytes(block["stateRoot"]))

    def logs(self, address: str, topic: bytes, first_block: int = 0) -> list[FoundLog]:
        """By `eth_getLogs`."""
        wanted: Any = {"address": to_checksum_address(address), "topics": ["0x" + topic.hex()], "fromBlock": first_block}
        return [
            FoundLog(
                Log(to_checksum_address(one["address"]), tuple(bytes(t) for t in one["topics"]), bytes(one["data"])),
                bytes(one["transactionHash"]),
                int(one["blockNumber"]),
            )
            for one in self._ask("logs", lambda: self._eth.get_logs(wanted))
        ]

    def calldata(self, transaction_hash: bytes) -> bytes:
        """By `eth_getTransactionByHash`."""
        which: Any = transaction_hash
        return bytes(self._ask("transaction", lambda: self._eth.get_transaction(which))["input"])

    def suggested_fees(self) -> Fees:
        """Twice the newest block's base fee, so that six full blocks in a row do not price it out, and the node's tip; nothing
        where there is no base fee: there gas is free, and accounts need no coin."""
        block = self._ask("newest block", lambda: self._eth.get_block("latest"))
        if not block.get("baseFeePerGas", 0):
            return Fees(0, 0)
        tip = int(self._ask("priority fee", lambda: self._eth.max_priority_fee))
        return Fees(max_fee_per_gas=2 * block["baseFeePerGas"] + tip, max_priority_fee_per_gas=tip)

    def _included(self, transaction_hash: bytes) -> Any:
        """The node's own receipt, whether its block counts already or not; None where it is in no block."""
        try:
            return self._ask("receipt", lambda: self._eth.get_transaction_receipt(transaction_hash))  # type: ignore[arg-type]
        except _NotThere:
            return None

    def _submit(self, raw: bytes, sent: SentTransaction) -> None:
        try:
            self._eth.send_raw_transaction(raw)
        except Web3RPCError as cause:
            if any(text in str(cause).lower() for text in _ALREADY):
                return
            if self._included(sent.hash) is not None:  # included between our look and our submission
                return
            if "insufficient funds" in str(cause).lower():
                raise self._no_funds(sent) from cause
            raise node_error(self._url, f"transaction 0x{sent.hash.hex()}", cause) from cause
        except FOREIGN as cause:
            raise node_error(self._url, f"transaction 0x{sent.hash.hex()}", cause) from cause

    def _no_funds(self, sent: SentTransaction) -> LedgerError:
        held = int(self._ask("balance", lambda: self._eth.get_balance(to_checksum_address(sent.sender))))
        content = sent.transaction
        needed = content.value + content.gas_limit * content.fees.max_fee_per_gas
        return LedgerError(
            f"{sent.sender} cannot pay for gas: it has {held / ETHER:.6g} of the chain's coin, "
            f"a transaction may cost up to {needed / ETHER:.6g}",
            thing=sent,
            way_out=f"fund {sent.sender} and give the same command again: what was sent before is recognised",
        )

    def _wait(self, sent: SentTransaction) -> Receipt:
        deadline = self._monotonic() + self._settings.receipt_timeout_s
        while (found := self.receipt(sent.hash)) is None:
            if self._monotonic() >= deadline:
                raise LedgerError(
                    f"transaction 0x{sent.hash.hex()} is not included after {self._settings.receipt_timeout_s} s",
                    thing=sent,
                    way_out="it may still be: send the same bytes again later; if fees rose, replace it under the same nonce",
                )
            self._sleep(self._settings.poll_interval_s)
        return found

    def _why(self, found: Mapping[str, Any]) -> Revert:
        """A receipt gives no reason. Ask for the trace of the transaction, which is exact; a node without tracing is asked what
        the call returns on the state before its block, which knows nothing of the block's own time."""
        which = ["0x" + bytes(found["transactionHash"]).hex(), {"tracer": "callTracer"}]
        traced = self._ask("trace", lambda: self._provider.make_request(_TRACE, which))
        output = (traced.get("result") or {}).get("output")
        if isinstance(output, str) and len(output) > len("0x"):
            return read_revert(bytes.fromhex(output.removeprefix("0x")))
        original = self._ask("transaction", lambda: self._eth.get_transaction(found["transactionHash"]))
        request = {"from": original["from"], "data": original["input"], "gas": original["gas"], "value": original["value"]}
        if original.get("to"):
            request["to"] = original["to"]
        if found["gasUsed"] == original["gas"]:
            return Revert("OutOfGas", {"gas": original["gas"]})
        try:
            self._eth.call(request, found["blockNumber"] - 1)  # type: ignore[arg-type]
        except Web3Exception as cause:
            return refusal_in(cause) or Revert("UnknownRevert", {"message": str(cause)})
        except FOREIGN as cause:
            raise node_error(self._url, "reason of a refusal", cause) from cause
        return Revert("UnknownRevert", {"message": "the call succeeds on the state before its block"})

    def _ask(self, what: str, question: Callable[[], Any]) -> Any:
        try:
            return question()
        except (TransactionNotFound, BlockNotFound) as cause:
            raise _NotThere(f"{what}: not known to the node at {self._url}") from cause
        except FOREIGN as cause:
            raise node_error(self._url, what, cause) from cause


class _NotThere(LedgerError):
    """The node does not know a transaction or block; becomes None before it leaves this file, or stays a LedgerError."""


def _request(sent: SentTransaction) -> dict[str, Any]:
    content = sent.transaction
    request: dict[str, Any] = {"from": sent.sender, "data": content.data, "value": content.value, "gas": content.gas_limit}
    if content.to is not None:
        request["to"] = content.to
    return request
