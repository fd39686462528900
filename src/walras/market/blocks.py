"""Block orders over several slots: one price a slot, no accepted block loses (a combinatorial double auction).

The book's orders are divisible and belong to a slot each (`"slot"`, 0 where not given); its `"blocks"` span slots
(`block_book.py`: all-or-nothing, minimum acceptance ratio, profiles, linked families, exclusive groups, flexible hours).
Accepted are the blocks of the largest welfare among those sets for which one price a slot exists such that

    every divisible order is filled as it would choose at that price,
    every accepted block gains nothing less than 0 at these prices over all its slots: none is paradoxically accepted.

A block that would gain but is not accepted is *paradoxically rejected*: it is listed, because no prices could have included it
at a higher welfare. Each accepted block must pay for itself; a parent is not carried by its children. Money balances
exactly: everyone trades at the price of the slot (buyers pay the grid fee on top).

`"search": {"method": "milp" | "heuristic", "effort": 40000}` chooses how (`block_search.py`). The status says what is proved:
"optimal" (nothing better is left, to the solver's tolerance), or the gap to a proved bound.

The `Clearing` has the divisible orders' rows. The blocks are in its certificate, by block in the sequence of their ids:
`block_slot_wh` (one after the other, each by slot), `block_pay_nano`; the money of all of them and the orders' sums to the grid
fee. Certificate also: `slot_price_micro_per_kwh`, `block_steps` by way to accept a block, `paradoxically_rejected` (block
numbers), `welfare_nano` of everything and `bound_nano` (both net of the grid fee), `rounds`, `proved` (1 or 0).

Source: Meeus, Verhaegen and Belmans, "Block order restrictions in combinatorial electric energy auctions", European Journal
of Operational Research 196 (2009); the exchange of cuts and prices follows the public description of EUPHEMIA.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from walras.errors import Fault, InputError, RangeError
from walras.market.block_book import Options, read_blocks
from walras.market.block_search import EFFORT, Found, Method, search
from walras.market.block_slots import Slots, make_slots
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.mechanism import Claim, Mechanism
from walras.market.orders import BUY, Orders
from walras.market.terms import terms
from walras.units import INT64_MAX, Int64, format_money

METHODS = ("milp", "heuristic")


@dataclass(frozen=True, slots=True)
class BlockClearing:
    """A cleared block book: the options' accepted steps, prices by slot, fills and payments of orders and of blocks."""

    slots: Slots
    found: Found
    filled_wh: Int64
    pay_nano: Int64
    block_slot_wh: Int64
    block_pay_nano: Int64
    paradoxically_rejected: Int64


def clear(
    orders: Orders, conventions: Conventions, network: object | None = None, *, extra: Mapping[str, object] | None = None
) -> Clearing:
    """Clear one block book. `network` is not used: one bus. InputError with every fault, RangeError where money leaves int64.

    Two slots with a bid of 1,000 Wh each at 0.30. A cheap hourly ask fills the first; a block of both slots at 0.10 displaces
    it from the margin and takes the rest:
    >>> from walras.market.mechanism import ORDER_EXTRA
    >>> from walras.market.orders import make_orders
    >>> book = make_orders([1, 1, -1], [1000, 1000, 800], [300_000, 300_000, 200_000])
    >>> block = {"id": "b", "side": "sell", "price_micro_per_kwh": 100_000, "quantity_wh": [500, 1000]}
    >>> done = clear(book, Conventions(), extra={"blocks": [block], ORDER_EXTRA: {"slot": [0, 1, 0]}})
    >>> done.filled_wh.tolist(), done.certificate["block_slot_wh"].tolist()
    ([1000, 1000, 500], [500, 1000])
    >>> done.certificate["slot_price_micro_per_kwh"].tolist()[0], done.surplus_nano + int(done.certificate["block_pay_nano"].sum())
    (200000, 0)
    """
    given = extra or {}
    method, effort = _read_search(given.get("search"))
    done = clear_blocks(orders, conventions, given, method, effort)
    priced = done.found.priced
    certificate: dict[str, int | Int64] = {
        "slot_price_micro_per_kwh": priced.price,
        "block_slot_wh": done.block_slot_wh.ravel(),
        "block_pay_nano": done.block_pay_nano,
        "block_steps": priced.k,
        "paradoxically_rejected": done.paradoxically_rejected,
        "welfare_nano": priced.welfare,
        "bound_nano": done.found.bound,
        "rounds": done.found.rounds,
        "proved": int(done.found.proved),
    }
    price = int(priced.price[0]) if priced.price.size == 1 and done.filled_wh.any() else None
    return Clearing("blocks", done.filled_wh, done.pay_nano, price, certificate=certificate)


def clear_blocks(
    orders: Orders, conventions: Conventions, extra: Mapping[str, object], method: Method = "milp", effort: int = EFFORT
) -> BlockClearing:
    """As `clear`, with everything that was found."""
    options, slot, slots = read_blocks(orders, extra, conventions)
    # one participant's orders in different slots do not cross: nothing is netted
    book = terms(orders, replace(conventions, self_trade="allow"))
    prepared = make_slots(orders, book, slot, slots, options, conventions)
    found = search(prepared, method, effort)
    priced, fee = found.priced, conventions.grid_fee_micro_per_kwh
    filled = prepared.fills(priced.k)
    at = priced.price[slot] if orders.count else np.zeros(0, np.int64)
    pay = orders.side * filled * (at + np.where(orders.side == BUY, fee, 0))
    energy = options.energy_at(priced.k)
    option_pay = options.side * ((priced.price[None, :] + np.where(options.side == BUY, fee, 0)[:, None]) * energy).sum(axis=1)
    blocks = len(options.names)
    block_wh, block_pay = np.zeros((blocks, slots), np.int64), np.zeros(blocks, np.int64)
    np.add.at(block_wh, options.block, energy)
    np.add.at(block_pay, options.block, option_pay)
    if float(np.abs(pay.astype(np.float64)).sum() + np.abs(block_pay.astype(np.float64)).sum()) > 0.5 * INT64_MAX:
        raise RangeError("blocks: the payments together do not fit in int64", thing="pay_nano")
    rejected = _paradoxically_rejected(prepared, priced.k, priced.price)
    return BlockClearing(prepared, found, filled, np.asarray(pay, dtype=np.int64), block_wh, block_pay, rejected)


def _paradoxically_rejected(slots: Slots, k: Int64, price: Int64) -> Int64:
    """Blocks not accepted that would gain at the prices, their parent being in and their group free."""
    options = slots.options
    gain = slots.surplus_nano(options.steps, price)
    accepted = {int(b) for b in options.block[k > 0]}
    busy = {i for group in options.groups if any(k[j] > 0 for j in group) for i in group}
    listed = {
        int(options.block[i])
        for i in np.flatnonzero((gain > 0) & (k == 0)).tolist()
        if int(options.block[i]) not in accepted
        and i not in busy
        and (not options.parents[i] or any(k[p] > 0 for p in options.parents[i]))
    }
    return np.array(sorted(listed), dtype=np.int64)


def _read_search(given: object) -> tuple[Method, int]:
    if given is None:
        return "milp", EFFORT
    if not isinstance(given, Mapping):
        raise InputError("blocks", [Fault("book", "search", given, "an object with method and effort")])
    faults = [Fault("search", str(f), given[f], "one of method, effort") for f in given if f not in ("method", "effort")]
    method, effort = given.get("method", "milp"), given.get("effort", EFFORT)
    if method not in METHODS:
        faults.append(Fault("search", "method", method, "one of " + ", ".join(METHODS)))
    if not isinstance(effort, int) or isinstance(effort, bool) or effort < 1:
        faults.append(Fault("search", "effort", effort, "a whole number of simplex iterations from 1"))
    if faults:
        raise InputError("blocks", faults)
    return method, effort


def report(clearing: Clearing, extra: Mapping[str, object]) -> dict[str, object]:
    """The blocks' part of the printed result; the totals count orders and blocks together."""
    blocks = cast("list[Mapping[str, object]]", extra.get("blocks", []))
    order = sorted(range(len(blocks)), key=lambda b: _by_name(blocks[b]["id"]))
    c = dict(clearing.certificate)
    price, pay = cast(Int64, c["slot_price_micro_per_kwh"]).tolist(), cast(Int64, c["block_pay_nano"]).tolist()
    energy = cast(Int64, c["block_slot_wh"]).reshape(len(blocks), len(price)).tolist()
    rejected = cast(Int64, c["paradoxically_rejected"]).tolist()
    net, bound = int(cast(int, c["welfare_nano"])), int(cast(int, c["bound_nano"]))
    surplus = clearing.surplus_nano + sum(pay)
    bought = sum(sum(by_slot) for b, by_slot in zip(order, energy, strict=True) if blocks[b]["side"] == "buy")
    return {
        "slot_price_micro_per_kwh": price,
        "blocks": [
            {"id": blocks[b]["id"], "filled_wh": sum(by_slot), "slot_wh": by_slot, "pay_nano": money}
            for b, by_slot, money in zip(order, energy, pay, strict=True)
        ],
        "paradoxically_rejected": [blocks[order[b]]["id"] for b in rejected],
        "status": "optimal" if c["proved"] else f"gap of {format_money(bound - net, places=9)} at most",
        "gap_nano": bound - net,
        "welfare_nano": net + surplus,  # the surplus is the grid fee on all that is bought
        "surplus_nano": surplus,
        "block_volume_bought_wh": bought,
    }


def _by_name(name: object) -> tuple[int, int, str]:
    return (1, 0, name) if isinstance(name, str) else (0, cast(int, name), "")


BLOCKS = Mechanism(
    name="blocks",
    title="Uniform price a slot with block orders",
    reference="Meeus, Verhaegen and Belmans, European Journal of Operational Research 196 (2009)",
    clear=clear,
    claims=frozenset({Claim.WEAK_BUDGET_BALANCE, Claim.STRONG_BUDGET_BALANCE, Claim.INDIVIDUALLY_RATIONAL, Claim.ORDER_FREE}),
    conventions=("k", "tie", "seed", "lot_wh", "grid_fee_micro_per_kwh"),
    extra=(
        (
            "blocks",
            "id, side, price_micro_per_kwh, quantity_wh by slot, and optionally participant, minimum_acceptance (1), linked_to, "
            "exclusive_group, flexible (false)",
        ),
        ("search", f"method (milp or heuristic) and effort ({EFFORT} simplex iterations)"),
    ),
    order_extra=(("slot", "index of the delivery slot, 0 where not given"),),
    report=report,
)
__all__ = ["BLOCKS", "METHODS", "BlockClearing", "Options", "clear", "clear_blocks", "report"]
