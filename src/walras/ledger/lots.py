"""Lots in Python: rights to deliver at a node, and the rule that they never exceed what the node can take.

A lot is the right to feed in up to `energy_wh` in each of `count` slots from `first` at one node. `headroom_wh` is the contract's
rule off the chain: what can still be granted over a stretch of slots is the least that any of them has left.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from walras.ledger.calls import Contract
from walras.ledger.chain import Chain
from walras.ledger.keys import SigningKey

GRANT_GAS = 250_000
GRANT_GAS_PER_SLOT = 26_000


@dataclass(frozen=True, slots=True)
class Lot:
    """Up to `energy_wh` [Wh] in each of the slots first, ..., first + count - 1 at `node`."""

    node: int
    first: int
    count: int
    energy_wh: int

    def in_slot(self, slot: int) -> int:
        """What the lot allows in `slot`.

        >>> [Lot(3, 10, 2, 500).in_slot(slot) for slot in (9, 10, 11, 12)]
        [0, 500, 500, 0]
        """
        return self.energy_wh if self.first <= slot < self.first + self.count else 0


def headroom_wh(capacity_wh: int, living: Iterable[Lot], node: int, first: int, count: int) -> int:
    """What can still be granted at `node` in every slot of the stretch: 0 where lots reach or exceed the capacity.

    >>> headroom_wh(1_000, [Lot(3, 10, 2, 500), Lot(3, 11, 4, 200)], 3, 10, 4)
    300
    """
    held = [lot for lot in living if lot.node == node]
    return max(0, min(capacity_wh - sum(lot.in_slot(slot) for lot in held) for slot in range(first, first + count)))


def grant(chain: Chain, contract: Contract, operator: SigningKey, to: str, lot: Lot, *, timestamp: int) -> int:
    """Grant the lot to `to`; its number."""
    arguments = (to, lot.node, lot.first, lot.count, lot.energy_wh)
    gas = GRANT_GAS + GRANT_GAS_PER_SLOT * lot.count
    receipt = contract.act(chain, operator, "grant", *arguments, timestamp=timestamp, gas_limit=gas)
    return int(dict(contract.events(receipt))["Granted"]["id"])


def split(chain: Chain, contract: Contract, owner: SigningKey, number: int, part_wh: int, *, timestamp: int) -> tuple[int, int]:
    """Cut lot `number` into the rest and one of `part_wh` in each slot; their numbers. The lot's own is gone: a number always
    stands for the same, so nobody gets less than it was quoted for."""
    receipt = contract.act(chain, owner, "split", number, part_wh, timestamp=timestamp)
    made = dict(contract.events(receipt))["Split"]
    return int(made["rest"]), int(made["part"])


def lot_of(chain: Chain, contract: Contract, number: int) -> Lot:
    """The lot as the contract holds it; all zero where there is none."""
    return Lot(*(int(value) for value in contract.view(chain, "lotOf", number)))
