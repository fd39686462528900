"""`Chain` on revm (pyrevm, optional): many times the embedded chain's pace, for thousands of random sequences and nothing else.

Same rules (Prague), same nonces, refusals, logs and storage; a test replays every machine's transactions on both chains. It has no
state roots, and its gas is not to be read: accounts stay warm from one transaction to the next. A copy is made by doing all
transactions again on an empty state, which for a prepared world takes milliseconds.
"""

from __future__ import annotations

import re
from typing import Any

import rlp
from eth_keys.main import KeyAPI

from walras.errors import LedgerError
from walras.ledger import Genesis, Head, Log, Receipt, SigningKey
from walras.ledger._keccak import keccak256
from walras.ledger.abi import Revert, read_revert
from walras.ledger.chain import Rehearsal
from walras.ledger.transactions import Fees, SentTransaction, Transaction, contract_address, transaction_hash

try:
    import pyrevm
except ImportError:
    pyrevm = None

_OUTPUT = re.compile(r"^Revert \{ gas_used: \d+, output: 0x([0-9a-f]*) \}$")
_NOBODY = "0x" + "00" * 20
_CALL_GAS = 100_000_000


def decoded(raw: bytes) -> SentTransaction:
    """What `read_transaction` says of an EIP-1559 transaction, faster: its fields are trusted to be well formed."""
    fields = rlp.decode(raw[1:])
    chain, nonce, priority, fee, gas, _, value, *_ = [int.from_bytes(one, "big") for one in fields[:7]]
    v, r, s = (int.from_bytes(one, "big") for one in fields[9:])
    digest = keccak256(raw[:1] + rlp.encode(fields[:9]))
    sender = KeyAPI().Signature(vrs=(v, r, s)).recover_public_key_from_msg_hash(digest).to_checksum_address()
    to = "0x" + fields[5].hex() if fields[5] else None
    return SentTransaction(transaction_hash(raw), sender, Transaction(chain, nonce, to, fields[7], gas, Fees(fee, priority), value))


class Unsigned(bytes):
    """Stands where a signed transaction would, and tells its sender: for this chain alone, any other refuses it."""

    sent: SentTransaction

    def __new__(cls, key: SigningKey, transaction: Transaction) -> Unsigned:
        made = transaction
        head = f"unsigned {key.address} {made.nonce} {made.to} {made.gas_limit} {made.value} {made.chain_id} "
        self = super().__new__(cls, head.encode() + made.data)
        self.sent = SentTransaction(keccak256(self), key.address, made)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Unsigned:
        return self


class QuickChain:
    """One writer; not for threads."""

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = genesis
        self._evm = pyrevm.EVM(pyrevm.Env(cfg=pyrevm.CfgEnv(chain_id=genesis.chain_id)), spec_id="PRAGUE", gas_limit=2**60)
        for address in genesis.funded:
            self._evm.set_balance(address, 10**24)
        self._nonces: dict[str, int] = {}
        self._receipts: dict[bytes, Receipt] = {}
        self._history: list[tuple[SentTransaction, int]] = []
        self._number, self._timestamp = 0, genesis.timestamp

    def __deepcopy__(self, memo: dict[int, Any]) -> QuickChain:
        """The same history on an empty state."""
        made = QuickChain(self._genesis)
        for sent, timestamp in self._history:
            made._take(sent, timestamp)
        return made

    @property
    def chain_id(self) -> int:
        return self._genesis.chain_id

    def send(self, raw: bytes, *, timestamp: int) -> Receipt:
        key = raw.sent.hash if isinstance(raw, Unsigned) else transaction_hash(raw)
        if key not in self._receipts:
            sent = raw.sent if isinstance(raw, Unsigned) else decoded(raw)
            expected = self.nonce(sent.sender)
            if sent.transaction.nonce != expected or sent.transaction.chain_id != self.chain_id:
                raise LedgerError(f"nonce {sent.transaction.nonce}, expected {expected}, or another chain", thing=sent)
            self._take(sent, timestamp)
        return self._receipts[key]

    def _take(self, sent: SentTransaction, timestamp: int) -> None:
        made = sent.transaction
        self._history.append((sent, timestamp))
        self._number, self._timestamp = self._number + 1, max(timestamp, self._timestamp + 1)
        self._at(self._number, self._timestamp)
        if made.to is None:
            while self._evm.basic(sent.sender).nonce < made.nonce:  # calls do not count there: catch up by empty creations
                self._evm.deploy(sent.sender, b"")
            arguments: tuple[Any, ...] = (self._evm.deploy, sent.sender, made.data, made.value, made.gas_limit)
        else:
            arguments = (self._evm.message_call, sent.sender, made.to, made.data, made.value, made.gas_limit)
        self._nonces[sent.sender] = made.nonce + 1
        output, refusal = self._attempt(*arguments)
        assert made.to is not None or refusal is not None or output.lower() == contract_address(sent.sender, made.nonce).lower()
        found = self._evm.result
        logs = () if refusal else tuple(_log(entry) for entry in found.logs)
        self._receipts[sent.hash] = Receipt(
            sent.hash, int(refusal is None), int(found.gas_used), self._number, self._timestamp, logs, refusal
        )

    def _attempt(self, act: Any, *arguments: Any) -> tuple[Any, Revert | None]:
        try:
            return act(*arguments), None
        except RuntimeError as cause:  # all that pyrevm raises
            output = _OUTPUT.match(str(cause))
            if output is not None:
                return b"", read_revert(bytes.fromhex(output[1]))
            return b"", Revert(self._evm.result.reason, {"message": str(cause)})
        finally:
            self._evm.reset_transient_storage()

    def _at(self, number: int, timestamp: int) -> None:
        block = pyrevm.BlockEnv(
            number=number,
            timestamp=timestamp,
            gas_limit=self._genesis.gas_limit,
            basefee=0,
            prevrandao=bytes(32),
            excess_blob_gas=0,
        )
        self._evm.set_block_env(block)

    def rehearse(self, raw: bytes) -> Rehearsal:
        raise NotImplementedError("its gas is not to be read")

    def call(self, to: str, data: bytes, *, sender: str | None = None) -> bytes:
        self._at(self._number + 1, self._timestamp + 1)
        before = self._evm.snapshot()
        output, refusal = self._attempt(self._evm.message_call, sender or _NOBODY, to, data, 0, _CALL_GAS)
        self._evm.revert(before)
        if refusal is not None:
            raise LedgerError(f"call to {to}: the contract refused: {refusal}", thing=refusal)
        return bytes(output)

    def receipt(self, transaction_hash: bytes) -> Receipt | None:
        return self._receipts.get(transaction_hash)

    def nonce(self, address: str) -> int:
        return self._nonces.get(address, 0)

    def storage(self, address: str, slot: int) -> int:
        return int(self._evm.storage(address, slot))

    def code(self, address: str) -> bytes:
        return bytes(self._evm.get_code(address) or b"").rstrip(b"\0")

    def head(self) -> Head:
        return Head(self._number, self._timestamp, bytes(32), bytes(32))


def _log(entry: Any) -> Log:
    topics, data = entry.data
    return Log(entry.address, tuple(bytes(topic) for topic in topics), bytes(data))
