"""A member's dispute in Python: the proof from its readings, and the resolution that a quorum signs.

A member whose settled energy differs from its attested readings opens with the leaves of its meters (`leaf_proofs.shown_leaf`);
`resolution_digest` is what oracles sign to have exactly these differences settled, with or without the operator.
"""

from __future__ import annotations

from collections.abc import Sequence

from eth_abi.abi import encode

from walras.errors import Fault, InputError
from walras.ledger._keccak import keccak256
from walras.ledger.calls import Contract
from walras.ledger.certificates import SettledRecord
from walras.ledger.chain import Chain, Receipt
from walras.ledger.encoding import Header, pack_positions, typed_data_digest
from walras.ledger.keys import SigningKey
from walras.ledger.leaf_proofs import ShownLeaf
from walras.metering.identity import KEY_ID_BYTES

_RESOLUTION_TYPE = keccak256(b"Resolution(uint64 slot,uint64 revision,bytes32 differencesHash)")


def device_id(key_id: bytes) -> bytes:
    """A meter's key id as `DeviceRegistry` and `Disputes` have it: 32 bytes, the id first.

    >>> device_id(bytes([7]) * 16).hex()[:34]
    '0707070707070707070707070707070700'
    """
    if len(key_id) != KEY_ID_BYTES:
        raise InputError("device id", [Fault("device", "key_id", key_id.hex(), f"{KEY_ID_BYTES} bytes")])
    return key_id + bytes(32 - KEY_ID_BYTES)


def open_dispute(
    chain: Chain,
    contract: Contract,
    member: SigningKey,
    slot: int,
    records: Sequence[SettledRecord],
    readings: Sequence[ShownLeaf],
    *,
    timestamp: int,
) -> Receipt:
    """Open a dispute over `slot`: its settlement and corrections in order, and readings by increasing key id."""
    proofs = [reading.as_arguments() for reading in readings]
    return contract.act(chain, member, "open", slot, *_settled(records), proofs, timestamp=timestamp, gas_limit=4_000_000)


def close_dispute(
    chain: Chain,
    contract: Contract,
    sender: SigningKey,
    slot: int,
    account: int,
    records: Sequence[SettledRecord],
    *,
    timestamp: int,
) -> Receipt:
    """Close a dispute whose slot is corrected to what was proved."""
    return contract.act(chain, sender, "close", slot, account, *_settled(records), timestamp=timestamp, gas_limit=4_000_000)


def resolution_digest(contract: Contract, slot: int, revision: int, packed: bytes) -> bytes:
    """The 32 bytes an oracle signs (EIP-712) for these packed differences as the `revision`-th correction of `slot`."""
    words = [_RESOLUTION_TYPE, slot, revision, keccak256(packed)]
    content = keccak256(encode(["bytes32", "uint64", "uint64", "bytes32"], words))
    return typed_data_digest("Walras Disputes", contract.chain_id, contract.address, content)


def _settled(records: Sequence[SettledRecord]) -> tuple[list[tuple[bytes, bytes, bytes]], list[bytes]]:
    return [_roots(record.header) for record in records], [pack_positions(record.positions) for record in records]


def _roots(header: Header) -> tuple[bytes, bytes, bytes]:
    return header.readings_root, header.trades_root, header.journal_head
