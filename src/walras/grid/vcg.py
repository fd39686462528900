"""Vickrey, Clarke and Groves on the wires: the nodal optimum, at which everyone keeps what its presence adds for all.

A participant is all its orders together. With W the largest welfare within the limits of the wires (AC), participant P gains

    D_P = W - W without P        and pays        (its reported value at its fills) - D_P

so truth is a dominant strategy: P's gain is the welfare of all less a number it cannot move. The network is in the loop:
without P the others are dispatched anew, so P pays for the voltage and the cable that it takes from them, and is paid for relief.

By re-solving only what each removal moves. Taking P away moves prices a little; orders far from their node's price stay filled
or empty. Those are folded into the fixed power of the feeder, and the small rest (orders within a window around their node's
price, and all orders at the root) is dispatched by the same engine, with the limits of the full optimum in play from the start.
The prices of the small solution certify it: every folded order must still be right at them, or the window grows and it is
solved again. Participants who trade nothing add nothing and are not solved at all.

Whole numbers: fills are the nodal clearing's; D_P comes from the optima in real numbers, rounded down to a nano, and is given back
per Wh over P's filled orders (what does not divide on the largest). So nobody pays above its bid or gets below its ask. What
buyers pay is less than what sellers get: the operator's deficit is in the certificate (`deficit_nano`), exactly -surplus, grid
fees apart; the rounding of fills leaves D_P within a few Wh of the pivot payment in whole numbers.

Sources: Vickrey, Journal of Finance 16 (1961); Clarke, Public Choice 11 (1971); Groves, Econometrica 41 (1973).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from walras.errors import ClearingError
from walras.grid.feeder import FeederSlot, Groups, group_orders
from walras.grid.network import Float
from walras.grid.nodal import clear as clear_nodal
from walras.grid.optimum import Dispatch, dispatch
from walras.grid.rows import LimitRows
from walras.market.clarke import spread_refunds
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.mechanism import Claim, Mechanism
from walras.market.orders import BUY, Orders
from walras.market.terms import terms
from walras.units import WH_PER_KWH, Int64, checked_product

LEAST_IN_WINDOW = 40
"""The first window reaches to both sides of each node's price as far as so many order groups are within it."""

GROWTH = 2.0
BALANCE_KW = 1e-3
"""Sold less bought may miss the losses by this much (a fraction of a Wh) in a re-solve."""

PRICE_HAIR = 1.0
"""A folded order may be wrong by this much (micro per kWh): beyond it, it comes into the window."""


@dataclass(frozen=True, eq=False)
class Removals:
    """`gain_nano` [participants] D_P as floats, `names` the participants; how many were solved, how often a window had to grow, and
    the mean number of order groups in a window.
    """

    names: Int64
    gain_nano: Float
    solved: int
    grown: int
    window: float


def clear(orders: Orders, conventions: Conventions, network: object | None = None) -> Clearing:
    """Clear one book on the wires by VCG. `network` is the `FeederSlot`, `orders.node` its buses; raises as nodal clearing does.

    One seller of 2.5 kWh behind 0.16 ohm, one buyer at the root who values 2,475 Wh at 20 ct. Either gone, nothing is traded: each
    gains the whole welfare, 49.5 - 20 = 29.5 ct: the buyer pays 20 ct, the seller gets 49.5 ct, the operator is short of 29.5 ct.
    >>> from walras.grid import Line, build_network
    >>> from walras.market.orders import make_orders
    >>> net = build_network({"a": 0.4, "b": 0.4}, [Line("ab", "a", "b", 1.0, 0.16, 0.0, max_i_ka=0.1)], root="a")
    >>> book = make_orders([1, -1], [5000, 2500], [200_000, 80_000], node=[0, 1], participant=[0, 1])
    >>> done = clear(book, Conventions(), FeederSlot(net, 0.25))
    >>> done.filled_wh.tolist(), [round(pay / 1e7, 1) for pay in done.pay_nano.tolist()], round(done.surplus_nano / 1e7, 1)
    ([2475, 2500], [20.0, -49.5], -29.5)
    """
    base = clear_nodal(orders, conventions, network)
    assert isinstance(network, FeederSlot)
    if network.requirements.caps_emissions or network.requirements.wants_reserve:
        raise ClearingError(
            "VCG on the wires knows no emissions cap and no reserve: they bind all orders, not those that a removal moves",
            thing=network.requirements,
            way_out="clear with nodal prices (walras.grid.NODAL), or leave the requirements out",
        )
    book = terms(orders, conventions)
    matched = replace(orders, quantity_wh=book.quantity_wh, price_micro_per_kwh=book.price_micro_per_kwh)
    removals = gains_of_presence(matched, network, traded=base.filled_wh > 0)
    owner = np.searchsorted(removals.names, orders.participant)
    fee = conventions.grid_fee_micro_per_kwh
    due = checked_product(base.filled_wh * orders.side, book.price_micro_per_kwh, "pay_nano")
    fees = np.where(orders.side == BUY, base.filled_wh * fee, 0)
    filled_by = np.bincount(owner, weights=base.filled_wh, minlength=removals.names.size)
    gain = np.where(filled_by > 0, np.floor(np.maximum(removals.gain_nano, 0.0)), 0.0).astype(np.int64)
    pay = due.copy()
    spread_refunds(owner, orders.id, base.filled_wh, pay, gain)
    certificate = {name: value for name, value in base.certificate.items() if not name.endswith("_rent_nano")}
    certificate |= {"deficit_nano": -int(pay.sum()), "removals": removals.solved, "removals_again": removals.grown}
    return Clearing("nodal_vcg", base.filled_wh, pay + fees, None, None, base.losses_wh, certificate=certificate)


def gains_of_presence(orders: Orders, slot: FeederSlot, *, traded: NDArray[np.bool_] | None = None) -> Removals:
    """D_P in nano (floats) for every participant of the book, by small re-solves. `traded` [orders] says who need not be solved:
    participants without a True add nothing (default: everyone is solved).
    """
    groups = group_orders(orders, slot.network)
    optimum = dispatch(slot, groups)
    names, owner = np.unique(orders.participant, return_inverse=True)
    active = np.ones(names.size, dtype=np.bool_)
    if traded is not None:
        active = np.bincount(owner, weights=traded, minlength=names.size) > 0
    welfare = _welfare(groups, optimum.fill_kw, slot)
    gain, grown, window = np.zeros(names.size), 0, 0
    by_owner = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[by_owner], np.arange(names.size + 1))
    without = _Removal(slot, groups, optimum)
    for p in np.flatnonzero(active):
        rows = by_owner[starts[p] : starts[p + 1]]
        less = np.zeros(groups.price.size, dtype=np.int64)
        np.add.at(less, groups.of_order[rows], orders.quantity_wh[rows])
        left, tries, size = without.solve(less)
        gain[p] = welfare - left
        grown += tries - 1
        window += size
    solved = int(active.sum())
    return Removals(np.asarray(names, dtype=np.int64), gain, solved, grown, window / max(solved, 1))


def gains_by_full_solves(orders: Orders, slot: FeederSlot) -> Float:
    """[participants] D_P by a full dispatch without each participant: the slow twin, and the yardstick of the benchmark."""
    groups = group_orders(orders, slot.network)
    welfare = _welfare(groups, dispatch(slot, groups).fill_kw, slot)
    gains = []
    for name in np.unique(orders.participant):
        rest = replace(orders, quantity_wh=np.where(orders.participant == name, 0, orders.quantity_wh))
        others = group_orders(rest, slot.network)
        gains.append(welfare - _welfare(others, dispatch(slot, others).fill_kw, slot))
    return np.array(gains)


def _welfare(groups: Groups, fill_kw: Float, slot: FeederSlot) -> float:
    """Reported welfare in nano: kW over the slot times micro per kWh."""
    return float(np.sum(groups.side * groups.price * fill_kw)) * slot.hours * WH_PER_KWH


class _Removal:
    """The full optimum, and how the others are dispatched without a participant."""

    def __init__(self, slot: FeederSlot, groups: Groups, optimum: Dispatch) -> None:
        self.slot, self.groups, self.optimum = slot, groups, optimum
        self.bus = slot.network.wires.order[groups.place]
        binding = np.flatnonzero(optimum.multiplier > 0)
        kinds, places = optimum.limit_kind[binding].tolist(), optimum.limit_place[binding].tolist()
        self.limits = LimitRows(kinds, places, [0.0] * binding.size)
        self.price = optimum.node_price()[self.bus]
        self.distance = np.abs(groups.price - self.price)
        nearest = np.sort(self.distance)[:LEAST_IN_WINDOW]
        self.reach = max(float(nearest[-1]) if nearest.size else 0.0, PRICE_HAIR)

    def solve(self, less_wh: Int64) -> tuple[float, int, int]:
        """(welfare of the others in nano, solves, groups in the last window) when `less_wh` [groups] is taken out of the book."""
        g, slot = self.groups, self.slot
        quantity = g.quantity_wh - less_wh
        upper = np.asarray(quantity * slot.kw_per_wh, dtype=np.float64)
        partial = (self.optimum.fill_kw > 0) & (self.optimum.fill_kw < g.quantity_wh * slot.kw_per_wh * (1 - 1e-9))
        inside = (g.place == 0) | partial | (self.distance <= self.reach)
        better = g.side * (g.price - self.price) > 0
        reach, tries = self.reach, 0
        while True:
            tries += 1
            folded = np.where(~inside & better, upper, 0.0)
            found = self._small(quantity, folded, inside)
            node_price = found.node_price()[self.bus]
            gain = g.side * (g.price - node_price)
            wrong = ~inside & (quantity > 0) & (np.where(better, -gain, gain) > PRICE_HAIR)
            fill = folded.copy()
            fill[inside] = found.fill_kw
            balanced = abs(float(g.side @ fill) + found.losses_kw) <= BALANCE_KW
            if (balanced and not wrong.any()) or inside.all():
                return _welfare(g, fill, slot), tries, int(inside.sum())
            reach *= GROWTH
            inside = inside | wrong | (self.distance <= reach)

    def _small(self, quantity: Int64, folded_kw: Float, inside: NDArray[np.bool_]) -> Dispatch:
        """Dispatch of the orders inside, with the others' power taken beside them. What they cannot balance shows in the fills."""
        g = self.groups
        taken = np.zeros(self.slot.network.buses)
        np.add.at(taken, self.bus, g.side * folded_kw)
        few = Groups(g.place[inside], g.side[inside], g.price[inside], quantity[inside], np.zeros(0, dtype=np.int64))
        return dispatch(self.slot, few, self.limits if self.limits.kind else None, taken)


NODAL_VCG = Mechanism(
    name="nodal_vcg",
    title="Vickrey-Clarke-Groves on the distribution grid",
    reference="Vickrey (1961); Clarke, Public Choice 11 (1971); Groves, Econometrica 41 (1973)",
    clear=clear,
    claims=frozenset({Claim.INDIVIDUALLY_RATIONAL, Claim.ORDER_FREE}),
    conventions=("k", "tie", "seed", "self_trade", "grid_fee_micro_per_kwh"),
)
