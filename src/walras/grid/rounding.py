"""From real fills to whole watt-hours on the network: less rather than more, the balance exact, the limits still kept.

The rule: every fill is rounded down; then sold = bought + losses, with the losses of the AC flow at the *rounded* fills to the
nearest Wh, is restored by the fewest single watt-hours: first on orders that are filled in part (at the root before elsewhere,
it moves no voltage), then by taking away from the others. What is sold less what is bought is the published loss.
"""

from __future__ import annotations

import numpy as np

from walras.errors import ClearingError
from walras.grid.feeder import FeederSlot, Groups
from walras.grid.network import BASE_KVA, Float
from walras.grid.optimum import Dispatch
from walras.grid.rows import limit_bounds, worst_limits
from walras.grid.sweep import MAX_SWEEPS, TOLERANCE_PU, branch_losses, solve, start_flat
from walras.units import Int64

KEPT = 2e-7
"""Rounded fills may exceed a limit by this much at most (pu of voltage); loadings by a hundred times of it."""

_WHOLE = 1e-6


class WholeFlow:
    """The AC flow at whole fills: losses that trade adds in Wh, and which limits are broken by how much."""

    def __init__(self, slot: FeederSlot, groups: Groups, base_losses_kw: float) -> None:
        n = slot.network.buses
        self.slot, self.groups, self.base_losses_kw = slot, groups, base_losses_kw
        self.fixed, self.q = slot.fixed_pu()
        self.v_min, self.v_max = limit_bounds(slot.network)
        self.vr, self.vi, self.state = np.empty(n), np.empty(n), np.zeros((n, 4))
        w = slot.network.wires
        start_flat(w.parent, w.data, w.slack_v_pu, self.vr, self.vi)

    def losses_wh(self, filled_wh: Int64) -> float:
        """Losses at these fills less the losses without trade, Wh."""
        g, w = self.groups, self.slot.network.wires
        kw = np.bincount(g.place, weights=filled_wh * g.side * self.slot.kw_per_wh, minlength=self.fixed.size)
        p = self.fixed + kw / BASE_KVA
        if solve(w.parent, w.data, p, self.q, self.vr, self.vi, self.state, TOLERANCE_PU, MAX_SWEEPS) < 0:
            raise ClearingError("no AC power flow at the rounded fills", thing=self.slot, way_out="report the book")
        kw_lost = branch_losses(w.parent, w.data, self.vr, self.vi, self.state) * BASE_KVA - self.base_losses_kw
        return kw_lost / self.slot.kw_per_wh

    def broken(self, lost: tuple[Int64, Int64]) -> tuple[Int64, Int64, Float]:
        """Kind, place and excess of the worst limits broken at the last fills beyond what rounding may.

        `lost` are kinds and places of limits that no order can mend; they are passed over.
        """
        w = self.slot.network.wires
        kinds, places, excess = worst_limits(w.parent, w.data, self.vr, self.vi, self.state, self.v_min, self.v_max, *lost, KEPT)
        beyond = (kinds > 1) | (excess > 100 * KEPT)
        return kinds[beyond], places[beyond], excess[beyond]


def round_fills(flow: WholeFlow, optimum: Dispatch) -> tuple[Int64, int]:
    """Whole fills [groups] in Wh and the published losses: sold less bought."""
    g = flow.groups
    exact = optimum.fill_kw / flow.slot.kw_per_wh
    filled = np.clip(np.floor(exact + _WHOLE), 0, g.quantity_wh).astype(np.int64)
    partial = (optimum.fill_kw > 0) & (filled < g.quantity_wh)
    for _ in range(4):
        losses = flow.losses_wh(filled)
        surplus = int(np.sum(np.where(g.side < 0, filled, -filled))) - round(losses)
        if surplus == 0:
            break
        _restore(filled, surplus, partial, g)
    sold_less_bought = int(np.sum(np.where(g.side < 0, filled, -filled)))
    if abs(sold_less_bought - flow.losses_wh(filled)) > 1.0:
        raise ClearingError(
            f"sold less bought is {sold_less_bought} Wh, the wires lose {losses:.2f} Wh: the rounded book cannot be balanced",
            thing=flow.slot,
            way_out="put the supplier's orders at the root into the book",
        )
    return filled, sold_less_bought


def _restore(filled: Int64, surplus: int, partial: np.ndarray, g: Groups) -> None:
    """Take `surplus` Wh of net sale out of the book (negative: of net purchase), in place.

    Candidates by rank: orders filled in part at the root, then those elsewhere that can give way by less, then any other of
    the long side, smallest fill last. Within a rank the larger remaining room goes first, then the lower row.
    """
    missing = abs(surplus)
    long_side = -1.0 if surplus > 0 else 1.0
    less = g.side == long_side
    room = np.where(less, filled, np.where(partial, g.quantity_wh - filled, 0))
    rank = np.where(partial, np.where(g.place == 0, 0, np.where(less, 1, 2)), np.where(less, 3, 9))
    rank[room == 0] = 9
    for row in np.lexsort((np.arange(room.size), -room, rank)):
        if missing == 0 or rank[row] == 9:
            return
        part = min(missing, int(room[row]))
        filled[row] += -part if less[row] else part
        missing -= part
