"""What settlement costs on a chain: gas of settling every slot by itself, and of posting the same slots in batches.

A transaction pays for its calldata to the byte (EIP-2028: 4 gas a zero byte, 16 another) and for execution, and at least the
data's floor (EIP-7623: 10 and 40), which is what a batch of many positions pays. The bytes are counted: the call is encoded with
the very positions. Execution is counted from the constants below, fitted to receipts of a node (anvil 1.7.1, Osaka rules; tests
hold them against new receipts). Money is whole nano-units, rounded up: gas x wei per gas x price of a coin. What a rollup charges
for its data beside its gas is not in here: put it into the gas price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from walras.errors import Fault, InputError
from walras.ledger.abi import artifact
from walras.ledger.encoding import POSITION_BYTES
from walras.ledger.keys import SIGNATURE_BYTES

WEI_PER_COIN = 10**18
WEI_PER_GWEI = 10**9
ACCOUNT_BYTES = 2
_WORD, _SIGNATURE = b"\xa5" * 32, b"\xa5" * SIGNATURE_BYTES
"""Roots and signatures, of which about one byte in 256 is zero."""

SIGNATURE_GAS = 5_879
"""Recovering an oracle's signature and looking it up."""

DIRECT_FIXED_GAS = 44_460
DIRECT_ROW_GAS = 2_484
MOVED_ROW_GAS = 2_800
"""Execution of a settlement: each row reads its account's word, a row that is not zero writes it. In a running community every
word is written already."""

BATCH_FIXED_GAS = 155_600
FIRST_BATCH_GAS = 49_300
BATCH_SLOT_GAS = 2_073
BATCH_ROW_GAS = 7
"""Execution of a post: fresh words for the batch, more of them for a contract's first, and hashing."""

TRANSACTION_GAS = 21_000
ZERO_BYTE_GAS, BYTE_GAS, FLOOR_ZERO_BYTE_GAS, FLOOR_BYTE_GAS = 4, 16, 10, 40


@dataclass(frozen=True, slots=True)
class Slots:
    """Settled slots as bytes of positions (`encoding.pack_positions`).

    settled      one a slot, a row for every account: what goes into its own transaction; `corrections` later ones, one each
    standing     one a slot, corrected, without rows of zeros: what goes into a batch
    signatures   of oracles under each settlement, correction and batch
    """

    settled: tuple[bytes, ...]
    corrections: tuple[bytes, ...]
    standing: tuple[bytes, ...]
    signatures: int


@dataclass(frozen=True, slots=True)
class CostTerms:
    """What gas costs: wei per gas, nano-units of the community's currency for a whole coin; slots put into one batch (1 to 672)."""

    wei_per_gas: int = WEI_PER_GWEI
    coin_nano: int = 2_500 * 10**9
    batch_slots: int = 96

    def __post_init__(self) -> None:
        faults = [
            Fault("cost terms", name, value, "not negative")
            for name, value in (("wei_per_gas", self.wei_per_gas), ("coin_nano", self.coin_nano))
            if value < 0
        ]
        if not 1 <= self.batch_slots <= 672:
            faults.append(Fault("cost terms", "batch_slots", self.batch_slots, "1 to 672 slots"))
        if faults:
            raise InputError("cost terms", faults)


ASSUMED = CostTerms()
"""One gwei, 2,500 a coin, a day of quarter hours in a batch: to be replaced by whoever knows better."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Transactions, their gas, and its price in nano-units."""

    transactions: int
    gas: int
    nano: int


def price_of_gas(gas: int, terms: CostTerms) -> int:
    """Nano-units for `gas`, rounded up.

    >>> price_of_gas(1_000_000, CostTerms())                # a million gas at 1 gwei and 2,500 a coin
    2500000000
    """
    return -(-gas * terms.wei_per_gas * terms.coin_nano // WEI_PER_COIN)


def direct_gas(settlements: Sequence[bytes], signatures: int) -> int:
    """Gas of settling or correcting slots one by one, with these packed positions.

    >>> row = bytes.fromhex("0001000000001dcd65000000000003e8")      # account 1 pays 500,000,000 nano for 1,000 Wh
    >>> direct_gas([row * 120], 3)
    739057
    """
    return sum(_direct_gas(packed, signatures) for packed in settlements)


def _direct_gas(packed: bytes, signatures: int) -> int:
    rows = [packed[at : at + POSITION_BYTES] for at in range(0, len(packed), POSITION_BYTES)]
    moved = sum(any(row[ACCOUNT_BYTES:]) for row in rows)
    done = DIRECT_FIXED_GAS + SIGNATURE_GAS * signatures + DIRECT_ROW_GAS * len(rows) + MOVED_ROW_GAS * moved
    data = artifact("Settlement").call("settleSlot", 1, (_WORD,) * 3, packed, _SIGNATURE * signatures)
    return _transaction_gas(data, done)


def batched_gas(standing: Sequence[bytes], batch_slots: int, signatures: int) -> int:
    """Gas of posting the same slots in batches of `batch_slots`, from a contract's first batch on.

    >>> row = bytes.fromhex("0001000000001dcd65000000000003e8")
    >>> batched_gas([row * 120] * 96, 96, 3)
    4181390
    """
    starts = range(0, len(standing), batch_slots)
    return sum(post_costs(standing[start : start + batch_slots], signatures, first=start == 0) for start in starts)


def post_costs(standing: Sequence[bytes], signatures: int, *, first: bool) -> int:
    """Gas of one batch of these slots; `first` of its contract."""
    rows = sum(len(packed) for packed in standing) // POSITION_BYTES
    done = BATCH_FIXED_GAS + SIGNATURE_GAS * signatures + BATCH_SLOT_GAS * len(standing) + BATCH_ROW_GAS * rows
    content = (1, [(_WORD, packed) for packed in standing], _WORD, _WORD, _SIGNATURE * signatures)
    return _transaction_gas(artifact("BatchSettlement").call("post", *content), done + (FIRST_BATCH_GAS if first else 0))


def _transaction_gas(data: bytes, execution: int) -> int:
    """What a transaction with this calldata pays that is executed for so much: the data's price, and at least their floor."""
    zeros = data.count(0)
    rest = len(data) - zeros
    usual = ZERO_BYTE_GAS * zeros + BYTE_GAS * rest + execution
    return TRANSACTION_GAS + max(usual, FLOOR_ZERO_BYTE_GAS * zeros + FLOOR_BYTE_GAS * rest)


def settlement_costs(slots: Slots, terms: CostTerms, receipts_gas: Sequence[int] = ()) -> tuple[Cost, Cost]:
    """(direct, batched) for these slots; `receipts_gas` is what was really used slot by slot, if known.

    InputError where there are receipts, but not one for each slot.
    """
    count = len(slots.settled)
    if receipts_gas and len(receipts_gas) != count:
        raise InputError("settlement costs", [Fault("receipts", "slots", len(receipts_gas), f"{count} like the slots")])
    direct = sum(receipts_gas) if receipts_gas else direct_gas(slots.settled, slots.signatures)
    direct += direct_gas(slots.corrections, slots.signatures)
    batched = batched_gas(slots.standing, terms.batch_slots, slots.signatures)
    batches = -(-count // terms.batch_slots)
    return (
        Cost(count + len(slots.corrections), direct, price_of_gas(direct, terms)),
        Cost(batches, batched, price_of_gas(batched, terms)),
    )
