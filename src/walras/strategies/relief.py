"""What a battery offers the wires at delivery: energy it could give or take more than it is about to, at what that costs its owner.

The rule: an offer moves only energy that no trade rests on, and pays its owner by itself. With m about to pass the meter:

gives more  where the owner takes beyond its purchases, each Wh saves the own contract's price; where it feeds in (or is at
            nothing), each earns the feed-in price
takes more  where the owner feeds in beyond its sales, each Wh loses the feed-in price; where it takes (or is at nothing), each
            costs the own contract's price

The energy inside is worth `worth` (by the value function of the plan, rounded against the market). The wires pay (price at the
node - price at the root) a Wh on top, so an offer to give is an ask at root - saved + worth, an offer to take a bid at
root - cost + worth. An owner that has done what pays by its own prices would lose by either: asks lie above the root's price, bids
below it, and nothing moves until the wires, carbon or reserve are worth the difference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from walras.devices.battery import BatteryFleet, stored_change
from walras.devices.battery_plan import ValueTable
from walras.errors import Fault, InputError
from walras.market.orders import BUY, SELL
from walras.strategies.dispatch import Dispatch, Held
from walras.strategies.truthful import PIECES, bid_pieces, offer_pieces
from walras.units import Int64


@dataclass(frozen=True, eq=False)
class Relief:
    """Offers, columns of one length, ascending by member: `side` +1 takes more, -1 gives more; `wh` > 0; `price_micro` per kWh."""

    member: Int64
    side: Int64
    wh: Int64
    price_micro: Int64

    @property
    def count(self) -> int:
        """How many."""
        return int(self.wh.size)

    def only(self, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Relief:
        """The offers of some rows."""
        return Relief(self.member[rows], self.side[rows], self.wh[rows], self.price_micro[rows])


NO_RELIEF = Relief(*(np.zeros(0, dtype=np.int64) for _ in range(4)))


def relief_offers(
    done: Dispatch, held: Held, own_micro: Int64, feed_in_micro: Int64, root_micro: int,
    fleet: BatteryFleet, soc_uwh: Int64, values: ValueTable, row: int,
) -> Relief:  # fmt: skip
    """The offers of a slot in which batteries are about to do `done`, from `soc_uwh` [n] stored at its start.

    `own_micro`, `feed_in_micro` [members] are the prices of the own contract and of feed-in, `root_micro` the worth of a kWh at the
    root, all micro/kWh; `row` is the slot's row in `values`.
    """
    rows: list[tuple[int, int, int, int]] = []
    wh, worth = np.empty(PIECES, dtype=np.int64), np.empty(PIECES, dtype=np.int64)
    for j, i in enumerate(fleet.member.tolist()):
        capacity, charge, discharge, gain, drain = (int(column[j]) for column in fleet.columns[1:])
        battery = (capacity, charge, discharge, gain, drain)
        table = values.slope, values.edge, int(values.start[row, j]), int(values.count[row, j])
        at, net = int(done.action_wh[j]), int(done.metered_wh[i])
        for side, pieces in ((SELL, offer_pieces), (BUY, bid_pieces)):
            along, against = int(held.sold_wh[i]), int(held.bought_wh[i])
            if side == BUY:
                along, against = against, along
            before = -side * net  # how far it may move before it would pass through nothing
            rate = int(feed_in_micro[i]) if (side == SELL) == (before <= 0) else int(own_micro[i])
            room = max(before - against, 0) if before > 0 else None
            if before <= 0 and along > -before:
                continue  # a position not yet delivered would be: that is a trade
            for k in range(pieces(at, int(soc_uwh[j]), battery, *table, wh, worth)):
                amount = int(wh[k]) if room is None else min(int(wh[k]), room)
                room = None if room is None else room - amount
                price = root_micro - rate + int(worth[k])
                if amount > 0:
                    rows.append((i, side, amount, max(price, root_micro) if side == SELL else min(price, root_micro)))
    return Relief(*np.array(rows, dtype=np.int64).reshape(-1, 4).T) if rows else NO_RELIEF


def move(done: Dispatch, moved_wh: Int64, fleet: BatteryFleet, soc_uwh: Int64) -> Dispatch:
    """`done` with each member's battery taking `moved_wh` [members] more (negative: giving more).

    Raises InputError where that is beyond what the battery can do.
    """
    if not moved_wh.any():
        return done
    action = done.action_wh + moved_wh[fleet.member]
    after = np.array(
        [
            s + stored_change(a, g, d)
            for s, a, g, d in zip(soc_uwh.tolist(), action.tolist(), fleet.gain_ppm.tolist(), fleet.drain_ppm.tolist(), strict=True)
        ],
        dtype=np.int64,
    )
    power = (action <= fleet.charge_limit_wh) & (action >= -fleet.discharge_limit_wh)
    wrong = np.flatnonzero(~power | (after < 0) | (after > fleet.capacity_uwh))
    nobody = np.setdiff1d(np.flatnonzero(moved_wh), fleet.member)
    faults = [Fault(f"member {m}", "moved", int(moved_wh[m]), "0: it has no battery") for m in nobody.tolist()]
    faults += [Fault(f"battery {j}", "action_wh", int(action[j]), "what its power and its store allow") for j in wrong.tolist()]
    if faults:
        raise InputError("relief", faults)
    return replace(done, metered_wh=done.metered_wh + moved_wh, soc_uwh=after, action_wh=action)
