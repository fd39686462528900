"""The bytes that contracts read: packed positions, the EIP-712 digest that oracles sign, the commitment of a slot.

One value has one encoding. Positions are ordered by account, each account at most once; a position takes 16 bytes, big
endian, two's complement:

    account uint16 | payment int64 (nano-units, positive: the member pays) | energy int48 (Wh, positive: takes from the grid)

Pure functions; `contracts/Settlement.sol` is the twin of this file, and the tests hold one against the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from eth_abi.abi import encode
from eth_utils.address import to_canonical_address
from numpy.typing import ArrayLike

from walras.errors import Fault, InputError
from walras.ledger._keccak import keccak256
from walras.ledger.keys import SigningKey
from walras.units import Int64, as_int64, checked_sum

POSITION_BYTES = 16
MAX_ACCOUNT = 2**16 - 1
MAX_POSITION_ENERGY_WH = 2**47 - 1
BALANCE_MASK = 2**128 - 1

_DOMAIN_TYPE = keccak256(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_ATTESTATION_TYPE = keccak256(b"Attestation(uint64 slot,bytes32 readingsRoot)")
_CORRECTION_TYPE = keccak256(b"Correction(uint64 slot,uint64 revision,bytes32 readingsRoot)")
_DAYS_TYPE = keccak256(b"CommittedDays(uint64 firstSlot,uint64 slots,bytes32 root)")
_POSITION = np.dtype([("account", ">u2"), ("payment_nano", ">i8"), ("energy_wh", "u1", 6)])


@dataclass(frozen=True, slots=True)
class Header:
    """What a settlement commits to beside the positions: three 32-byte hashes."""

    readings_root: bytes
    trades_root: bytes
    journal_head: bytes

    def __post_init__(self) -> None:
        faults = [
            Fault("header", name, getattr(self, name).hex(), "32 bytes")
            for name in ("readings_root", "trades_root", "journal_head")
            if len(getattr(self, name)) != 32
        ]
        if faults:
            raise InputError("settlement header", faults)


@dataclass(frozen=True, slots=True)
class NetPositions:
    """One row a member that takes part: account strictly increasing, payment [nano], energy [Wh], int64 columns.

    Signs: payment positive when the member pays, energy positive when it takes from the grid.
    """

    account: Int64
    payment_nano: Int64
    energy_wh: Int64

    def __len__(self) -> int:
        return int(self.account.size)


def net_positions(account: ArrayLike, payment_nano: ArrayLike, energy_wh: ArrayLike) -> NetPositions:
    """Columns checked against everything the contract checks that needs no state; InputError lists every fault.

    >>> rows = net_positions([0, 2], [-300_000_000, 300_000_000], [-1000, 1000])
    >>> len(pack_positions(rows))
    32
    """
    columns = [as_int64(account, "account"), as_int64(payment_nano, "payment_nano"), as_int64(energy_wh, "energy_wh")]
    size = columns[0].size
    faults = [
        Fault("positions", name, column.size, f"{size} rows like account")
        for name, column in zip(("payment_nano", "energy_wh"), columns[1:], strict=True)
        if column.size != size
    ]
    if not faults:
        faults = [*_row_faults(*columns), *_sum_faults(*columns[1:])]
    if faults:
        raise InputError("net positions", faults)
    return NetPositions(*columns)


def _row_faults(account: Int64, payment_nano: Int64, energy_wh: Int64) -> list[Fault]:
    previous = np.concatenate([[-1], account[:-1]])
    checks = [
        ("account", account, (account < 0) | (account > MAX_ACCOUNT), f"between 0 and {MAX_ACCOUNT}"),
        ("account", account, account <= previous, "above the account before it"),
        ("energy_wh", energy_wh, np.abs(energy_wh) > MAX_POSITION_ENERGY_WH, f"at most {MAX_POSITION_ENERGY_WH} either way"),
    ]
    return [
        Fault(f"row {row}", name, int(column[row]), expected)
        for name, column, bad, expected in checks
        for row in np.flatnonzero(bad)
    ]


def _sum_faults(payment_nano: Int64, energy_wh: Int64) -> list[Fault]:
    sums = {"payment_nano": checked_sum(payment_nano), "energy_wh": checked_sum(energy_wh)}
    return [Fault("positions", f"sum of {name}", total, "0") for name, total in sums.items() if total != 0]


def pack_positions(positions: NetPositions) -> bytes:
    """16 bytes a row, see the head of this file.

    >>> pack_positions(net_positions([1, 2], [-5, 5], [-1, 1])).hex()
    '0001fffffffffffffffbffffffffffff00020000000000000005000000000001'
    """
    rows = np.empty(len(positions), dtype=_POSITION)
    rows["account"] = positions.account
    rows["payment_nano"] = positions.payment_nano
    rows["energy_wh"] = positions.energy_wh.astype(">i8").view("u1").reshape(-1, 8)[:, 2:]
    return rows.tobytes()


def unpack_positions(packed: bytes) -> NetPositions:
    """The inverse of `pack_positions`; InputError where the contract would refuse the bytes for their shape or sums."""
    if len(packed) % POSITION_BYTES:
        raise InputError("packed positions", [Fault("positions", "length", len(packed), f"a multiple of {POSITION_BYTES}")])
    rows = np.frombuffer(packed, dtype=_POSITION)
    wide = np.zeros((rows.size, 8), dtype="u1")
    wide[:, 2:] = rows["energy_wh"]
    energy = wide.view(">i8").reshape(-1).astype(np.int64)
    energy = np.where(energy > MAX_POSITION_ENERGY_WH, energy - 2**48, energy)
    return net_positions(rows["account"].astype(np.int64), rows["payment_nano"].astype(np.int64), energy)


def split_word(word: int) -> tuple[int, int]:
    """(balance in nano-units, running energy in Wh) of an account's storage word.

    >>> split_word((2**256 - 1) ^ (2**128 - 1) | 7)
    (7, -1)
    """
    energy = word >> 128
    return word & BALANCE_MASK, energy - 2**128 if energy >> 127 else energy


def join_word(balance_nano: int, energy_wh: int) -> int:
    """The storage word of an account; the inverse of `split_word`."""
    return (energy_wh % 2**128) << 128 | balance_nano


def attestation_digest(chain_id: int, settlement: str, slot: int, readings_root: bytes) -> bytes:
    """The 32 bytes an oracle signs (EIP-712) for `readings_root` of `slot`: good for one contract on one chain only."""
    content = keccak256(encode(["bytes32", "uint64", "bytes32"], [_ATTESTATION_TYPE, slot, readings_root]))
    return typed_data_digest("Walras Settlement", chain_id, settlement, content)


def correction_digest(chain_id: int, settlement: str, slot: int, revision: int, readings_root: bytes) -> bytes:
    """The 32 bytes an oracle signs to attest `readings_root` as the `revision`-th correction (1, 2, ...) of a settled slot."""
    words = [_CORRECTION_TYPE, slot, revision, readings_root]
    content = keccak256(encode(["bytes32", "uint64", "uint64", "bytes32"], words))
    return typed_data_digest("Walras Settlement", chain_id, settlement, content)


def days_digest(chain_id: int, settlement: str, first_slot: int, slots: int, root: bytes) -> bytes:
    """The 32 bytes an oracle signs to say that `root` commits to its readings of `slots` slots from `first_slot` on.

    No contract asks for it; it stands under the settlement contract's domain, so it is good for one run only.
    """
    content = keccak256(encode(["bytes32", "uint64", "uint64", "bytes32"], [_DAYS_TYPE, first_slot, slots, root]))
    return typed_data_digest("Walras Settlement", chain_id, settlement, content)


def typed_data_digest(name: str, chain_id: int, contract: str, content: bytes) -> bytes:
    """EIP-712: the hash of a struct (`content`) under the domain of `contract`, version 1, on one chain."""
    words = [_DOMAIN_TYPE, keccak256(name.encode()), keccak256(b"1"), chain_id, contract]
    domain = keccak256(encode(["bytes32", "bytes32", "bytes32", "uint256", "address"], words))
    return keccak256(b"\x19\x01" + domain + content)


def sign_attestation(key: SigningKey, chain_id: int, settlement: str, slot: int, readings_root: bytes) -> tuple[str, bytes]:
    """(address, signature) of one oracle; collect them and hand them to `join_signatures`."""
    return key.address, key.sign_digest(attestation_digest(chain_id, settlement, slot, readings_root))


def join_signatures(signed: Sequence[tuple[str, bytes]]) -> bytes:
    """Signatures one after the other by increasing signer address, the order that the registry demands."""
    return b"".join(signature for _, signature in sorted(signed, key=lambda pair: to_canonical_address(pair[0])))


def slot_commitment(slot: int, header: Header, packed: bytes) -> bytes:
    """What the settlement contract stores for a settled slot: keccak256 over slot, header and the hash of the positions."""
    words = [slot, header.readings_root, header.trades_root, header.journal_head, keccak256(packed)]
    return keccak256(encode(["uint64", *["bytes32"] * 4], words))
