"""What settlement costs on a chain: gas of settling every slot by itself, and of posting the same slots in batches.

Direct gas is the sum of a run's receipts where there are receipts; else it is counted from the constants below, which are receipts
of a node (anvil 1.7.1, Osaka rules, three signatures of four oracles; a test holds them against new receipts). Calldata is priced
by EIP-7623: a transaction pays at least its data's floor, which is what a batch of more than a few dozen positions pays.
Money is whole nano-units, rounded up: gas x wei per gas x price of a coin. What a rollup charges for its data beside its gas is not
in here: put it into the gas price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from walras.errors import Fault, InputError

WEI_PER_COIN = 10**18
WEI_PER_GWEI = 10**9

DIRECT_FIXED_GAS = 87_400
DIRECT_POSITION_GAS = 5_480
"""A running community: every account's word is written already."""

BATCH_FIXED_GAS = 199_100
BATCH_SLOT_GAS = 3_000
BATCH_POSITION_GAS = 194
FLOOR_FIXED_GAS = 35_000
FLOOR_SLOT_GAS = 2_420
FLOOR_POSITION_GAS = 483
"""Ten gas a zero byte and forty another: about 11 of a position's 16 bytes are not zero."""


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


def direct_gas(participants: Sequence[int]) -> int:
    """Gas of settling slots one by one, with so many participants each.

    >>> direct_gas([120])
    745000
    """
    return sum(DIRECT_FIXED_GAS + DIRECT_POSITION_GAS * count for count in participants)


def batched_gas(participants: Sequence[int], batch_slots: int) -> int:
    """Gas of posting the same slots in batches of `batch_slots`.

    >>> batched_gas([120] * 96, 96)
    5831480
    """
    total = 0
    for start in range(0, len(participants), batch_slots):
        part = participants[start : start + batch_slots]
        slots, positions = len(part), sum(part)
        done = BATCH_FIXED_GAS + BATCH_SLOT_GAS * slots + BATCH_POSITION_GAS * positions
        total += max(done, FLOOR_FIXED_GAS + FLOOR_SLOT_GAS * slots + FLOOR_POSITION_GAS * positions)
    return total


def settlement_costs(participants: Sequence[int], terms: CostTerms, receipts_gas: Sequence[int] = ()) -> tuple[Cost, Cost]:
    """(direct, batched) for slots with so many participants each; `receipts_gas` is what was really used slot by slot, if known.

    InputError where there are receipts, but not one for each slot.
    """
    if receipts_gas and len(receipts_gas) != len(participants):
        raise InputError(
            "settlement costs", [Fault("receipts", "slots", len(receipts_gas), f"{len(participants)} like participants")]
        )
    direct = sum(receipts_gas) if receipts_gas else direct_gas(participants)
    batched = batched_gas(participants, terms.batch_slots)
    batches = -(-len(participants) // terms.batch_slots)
    return (
        Cost(len(participants), direct, price_of_gas(direct, terms)),
        Cost(batches, batched, price_of_gas(batched, terms)),
    )
