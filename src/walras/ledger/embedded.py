"""An EVM inside the process (py-evm, Prague rules): exact gas, no server, the same bytes in give the same state out.

Every transaction makes one block. Nothing comes from the outside: genesis, block times and transactions are given in, and what
other nodes fill in at random (the block's mix hash) is zero. So the journal of raw transactions with their times rebuilds the
chain, block hash for block hash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from walras.ledger import _keccak  # noqa: F401  # isort: skip - chooses the hash backend before py-evm loads it
from eth.chains.base import MiningChain
from eth.db.atomic import AtomicDB
from eth.vm.forks.prague import PragueVM
from eth_typing import BlockNumber
from eth_utils.address import to_canonical_address, to_checksum_address
from eth_utils.exceptions import ValidationError

from walras.errors import Fault, InputError, LedgerError
from walras.ledger.abi import Revert, read_revert
from walras.ledger.chain import FoundLog, Head, Log, Receipt, Rehearsal
from walras.ledger.transactions import read_transaction, transaction_hash

ETHER = 10**18
CALL_GAS = 100_000_000

_ZERO_HASH = bytes(32)
_ZERO_ADDRESS = bytes(20)


@dataclass(frozen=True, slots=True)
class Genesis:
    """The chain's first block. `funded` addresses get a million ether each, to pay their gas with.

    `timestamp` [Unix s] must lie before the first transaction's. `gas_limit` bounds a block, and so a transaction.
    `free_gas`: there is no base fee, for transactions that were signed for a chain without one.
    """

    funded: tuple[str, ...]
    timestamp: int = 0
    chain_id: int = 31_337
    gas_limit: int = 60_000_000
    free_gas: bool = False


class EmbeddedChain:
    """`Chain` on py-evm. One writer; not for threads."""

    def __init__(self, genesis: Genesis) -> None:
        if not genesis.funded:
            raise InputError("genesis", [Fault("genesis", "funded", genesis.funded, "at least one address that pays gas")])
        self._genesis = genesis
        self._chain = _make_chain(genesis)
        self._receipts: dict[bytes, Receipt] = {}
        self._calls: dict[bytes, bytes] = {}

    @property
    def chain_id(self) -> int:
        """EIP-155 chain id, as the genesis says."""
        return self._genesis.chain_id

    def send(self, raw: bytes, *, timestamp: int) -> Receipt:
        """One block with this one transaction, at `timestamp`, or one second after the block before where that is later."""
        key = transaction_hash(raw)
        if key in self._receipts:
            return self._receipts[key]
        transaction = self._decode(raw)
        pending = self._chain.header
        self._chain.header = pending.copy(timestamp=max(timestamp, pending.timestamp), mix_hash=_ZERO_HASH)
        try:
            _, receipt, computation = self._chain.apply_transaction(transaction)
        except ValidationError as cause:
            self._chain.header = pending
            raise _refused(raw, cause) from cause
        block = self._chain.mine_block(coinbase=_ZERO_ADDRESS, mix_hash=_ZERO_HASH, blob_gas_used=0)
        made = Receipt(
            transaction_hash=key,
            status=0 if computation.is_error else 1,
            gas_used=receipt.gas_used,
            block_number=block.number,
            timestamp=block.header.timestamp,
            logs=tuple(_log(entry) for entry in receipt.logs),
            refusal=_refusal(computation),
        )
        self._receipts[key], self._calls[key] = made, bytes(transaction.data)
        return made

    def rehearse(self, raw: bytes) -> Rehearsal:
        """Applied to a copy of the newest state that is then dropped."""
        machine = self._chain.get_vm()
        try:
            receipt, computation = machine.apply_transaction(machine.get_header(), self._decode(raw))
        except ValidationError as cause:
            raise _refused(raw, cause) from cause
        return Rehearsal(receipt.gas_used, _refusal(computation))

    def call(self, to: str, data: bytes, *, sender: str | None = None) -> bytes:
        """Run the code at `to` on the newest state; what it writes is dropped."""
        machine = self._chain.get_vm()
        target = to_canonical_address(to)
        origin = to_canonical_address(sender) if sender is not None else _ZERO_ADDRESS
        computation = machine.execute_bytecode(
            origin=origin,
            gas_price=0,
            gas=CALL_GAS,
            to=target,
            sender=origin,
            value=0,
            data=data,
            code=machine.state.get_code(target),
            code_address=target,
        )
        refusal = _refusal(computation)
        if refusal is not None:
            raise LedgerError(f"call to {to}: the contract refused: {refusal}", thing=refusal)
        return bytes(computation.output)

    def receipt(self, transaction_hash: bytes) -> Receipt | None:
        """Kept for every transaction of this process."""
        return self._receipts.get(transaction_hash)

    def nonce(self, address: str) -> int:
        """From the newest state."""
        return int(self._chain.get_vm().state.get_nonce(to_canonical_address(address)))

    def storage(self, address: str, slot: int) -> int:
        """From the newest state."""
        return int(self._chain.get_vm().state.get_storage(to_canonical_address(address), slot))

    def code(self, address: str) -> bytes:
        """From the newest state."""
        return bytes(self._chain.get_vm().state.get_code(to_canonical_address(address)))

    def head(self) -> Head:
        """The newest block; the genesis before the first transaction."""
        header = self._chain.get_canonical_head()
        return Head(header.block_number, header.timestamp, bytes(header.hash), bytes(header.state_root))

    def logs(self, address: str, topic: bytes, first_block: int = 0) -> list[FoundLog]:
        """Out of the receipts of this process."""
        return [
            FoundLog(log, receipt.transaction_hash, receipt.block_number)
            for receipt in self._receipts.values()
            for log in receipt.logs
            if receipt.block_number >= first_block and log.address == to_checksum_address(address) and log.topics[:1] == (topic,)
        ]

    def calldata(self, transaction_hash: bytes) -> bytes:
        """Kept for every transaction of this process."""
        if transaction_hash not in self._calls:
            raise LedgerError(f"transaction 0x{transaction_hash.hex()} is not of this chain", thing=transaction_hash)
        return self._calls[transaction_hash]

    def _decode(self, raw: bytes) -> Any:
        sent = read_transaction(raw)
        if sent.transaction.chain_id != self.chain_id:  # py-evm does not look
            raise LedgerError(
                f"transaction 0x{sent.hash.hex()} is for chain {sent.transaction.chain_id}, this is {self.chain_id}",
                thing=sent,
                way_out="sign it for this chain",
            )
        return self._chain.get_vm().get_transaction_builder().decode(raw)


def _make_chain(genesis: Genesis) -> Any:
    class PragueChain(MiningChain):  # py-evm takes its parameters as class attributes
        chain_id = genesis.chain_id
        vm_configuration = ((BlockNumber(0), PragueVM),)

        def create_header_from_parent(self, parent_header: Any, **fields: Any) -> Any:
            fields = {"gas_limit": parent_header.gas_limit, "timestamp": parent_header.timestamp + 1, **fields}
            return super().create_header_from_parent(parent_header, **fields)

    parameters: dict[str, Any] = {
        "coinbase": _ZERO_ADDRESS,
        "difficulty": 0,
        "extra_data": b"",
        "gas_limit": genesis.gas_limit,
        "mix_hash": _ZERO_HASH,
        "nonce": bytes(8),
        "timestamp": genesis.timestamp,
    }
    if genesis.free_gas:
        parameters["base_fee_per_gas"] = 0
    account: Any = {"balance": 1_000_000 * ETHER, "nonce": 0, "code": b"", "storage": {}}
    state = {to_canonical_address(address): account for address in genesis.funded}
    return PragueChain.from_genesis(AtomicDB(), parameters, state)


def _refusal(computation: Any) -> Revert | None:
    if not computation.is_error:
        return None
    error = computation.error
    if type(error).__name__ == "Revert":
        return read_revert(bytes(computation.output))
    return Revert(type(error).__name__, {"message": str(error)})  # out of gas, bad jump, and the like


def _refused(raw: bytes, cause: ValidationError) -> LedgerError:
    sent = read_transaction(raw)
    nonce = sent.transaction.nonce
    return LedgerError(
        f"transaction 0x{sent.hash.hex()} of {sent.sender} (nonce {nonce}) cannot enter a block: {cause}",
        thing=sent,
        way_out="check that the nonce is the sender's next, that it can pay its gas, and that the chain id is this chain's",
    )


def _log(entry: Any) -> Log:
    topics = tuple(int(topic).to_bytes(32, "big") for topic in entry.topics)
    return Log(to_checksum_address(entry.address), topics, bytes(entry.data))
