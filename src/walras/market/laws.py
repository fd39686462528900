"""What every clearing keeps, as checks that return findings, and the one suite that every mechanism runs through.

`check_*` functions look at one book and one clearing and return a list of `Finding`s, empty when the law holds. They
never trust the mechanism: sums are recomputed in exact integers, welfare is compared with a solver of its own
(`best_welfare_nano`, a list-based greedy that shares no code with the mechanisms). `assert_laws` runs the laws that bind
everyone and those that the mechanism claims, and raises ClearingError with every finding.

    everyone            energy, quantities, money, trades, same bytes twice
    by claim            WEAK_/STRONG_BUDGET_BALANCE, INDIVIDUALLY_RATIONAL, EFFICIENT, NO_CROSSING_LEFT, ONE_PRICE,
                        ORDER_FREE; TRUTHFUL is searched by `game.best_misreport` (bounded search: it finds gains, it does
                        not prove that there are none)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from walras.errors import ClearingError
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.game import best_misreport
from walras.market.mechanism import ORDER_EXTRA, Claim, Mechanism, run
from walras.market.orders import BUY, Orders
from walras.market.terms import terms


@dataclass(frozen=True, slots=True)
class Finding:
    """One law broken: which, and the numbers that show it."""

    law: str
    detail: str

    def __str__(self) -> str:
        return f"{self.law}: {self.detail}"


def check_columns(orders: Orders, clearing: Clearing) -> list[Finding]:
    """Fills and payments are int64 columns with one row an order."""
    return [
        Finding("columns", f"{name} is {column.dtype} of shape {column.shape}, not int64 of ({orders.count},)")
        for name, column in (("filled_wh", clearing.filled_wh), ("pay_nano", clearing.pay_nano))
        if column.dtype != np.int64 or column.shape != (orders.count,)
    ]


def check_energy(orders: Orders, clearing: Clearing) -> list[Finding]:
    """Energy bought + losses + what a pool's stock took in = energy sold."""
    bought = sum(clearing.filled_wh[orders.side == BUY].tolist())
    sold = sum(clearing.filled_wh[orders.side != BUY].tolist())
    lost, stocked = clearing.losses_wh, clearing.inventory_wh
    if bought + lost + stocked != sold:
        return [Finding("energy", f"bought {bought} + lost {lost} + stocked {stocked} is not sold {sold} Wh")]
    return []


def check_quantities(orders: Orders, clearing: Clearing, conventions: Conventions) -> list[Finding]:
    """No order is filled beyond its quantity or below zero; fills are whole lots."""
    filled = clearing.filled_wh
    bad = (filled < 0) | (filled > orders.quantity_wh) | (filled % conventions.lot_wh != 0)
    return [
        Finding("quantities", f"order {orders.id[r]} of {orders.quantity_wh[r]} Wh is filled {filled[r]} Wh")
        for r in np.flatnonzero(bad)
    ]


def check_money(orders: Orders, clearing: Clearing) -> list[Finding]:
    """Payments and the operator's surplus sum to zero; where nothing is filled nothing is paid but published reserve held."""
    findings = []
    if clearing.surplus_nano != sum(clearing.pay_nano.tolist()):
        findings.append(Finding("money", f"surplus {clearing.surplus_nano} is not the sum of payments"))
    held = np.minimum(clearing.certificate.get("reserve_pay_nano", 0), 0)
    idle = np.flatnonzero((clearing.filled_wh == 0) & (clearing.pay_nano != held))
    findings += [Finding("money", f"order {orders.id[r]} is not filled but pays {clearing.pay_nano[r]}") for r in idle]
    return findings


def check_trades(orders: Orders, clearing: Clearing) -> list[Finding]:
    """Where the rule pairs orders: each pair is a bid and an ask, of positive energy, and pairs add up to the fills."""
    trades = clearing.trades
    if trades is None:
        return []
    findings = []
    n = orders.count
    paired = [0] * n
    columns = (trades.buy.tolist(), trades.sell.tolist(), trades.energy_wh.tolist())
    for buy, sell, energy in zip(*columns, strict=True):
        if not (0 <= buy < n and 0 <= sell < n) or orders.side[buy] != BUY or orders.side[sell] == BUY or energy <= 0:
            findings.append(Finding("trades", f"rows {buy} and {sell} for {energy} Wh are no pair of a bid and an ask"))
            continue
        paired[buy] += energy
        paired[sell] += energy
    losses = clearing.losses_wh
    for row, energy in enumerate(paired):
        if energy != clearing.filled_wh[row] and not (losses and orders.side[row] != BUY):
            findings.append(
                Finding("trades", f"order {orders.id[row]} is filled {clearing.filled_wh[row]} Wh, its pairs add to {energy}")
            )
    return findings


def check_individually_rational(orders: Orders, clearing: Clearing, _conventions: Conventions) -> list[Finding]:
    """No order pays more, or gets less, than its limit times what is filled."""
    findings = []
    rows = zip(
        orders.side.tolist(),
        orders.price_micro_per_kwh.tolist(),
        clearing.filled_wh.tolist(),
        clearing.pay_nano.tolist(),
        strict=True,
    )
    for row, (side, price, filled, pay) in enumerate(rows):
        gain = side * price * filled - pay
        if gain < 0:
            findings.append(
                Finding("individually rational", f"order {orders.id[row]} at {price}, {filled} Wh, pays {pay}: loses {-gain} nano")
            )
    return findings


def check_weak_budget(_orders: Orders, clearing: Clearing, _conventions: Conventions) -> list[Finding]:
    """The operator's surplus is not negative."""
    surplus = clearing.surplus_nano
    return [Finding("weak budget balance", f"the operator is short of {-surplus} nano")] if surplus < 0 else []


def check_strong_budget(orders: Orders, clearing: Clearing, conventions: Conventions) -> list[Finding]:
    """The operator's surplus is the grid fee on what is bought, and nothing else."""
    fee = conventions.grid_fee_micro_per_kwh * sum(clearing.filled_wh[orders.side == BUY].tolist())
    if clearing.surplus_nano != fee:
        return [Finding("strong budget balance", f"surplus {clearing.surplus_nano} is not the grid fee {fee}")]
    return []


def check_one_price(orders: Orders, clearing: Clearing, conventions: Conventions) -> list[Finding]:
    """Every filled order trades at the one price; buyers pay the grid fee on top."""
    if not clearing.filled_wh.any():
        return []
    price = clearing.price_micro_per_kwh
    if price is None:
        return [Finding("one price", "orders are filled, but there is no price")]
    findings = []
    rows = zip(orders.side.tolist(), clearing.filled_wh.tolist(), clearing.pay_nano.tolist(), strict=True)
    for row, (side, filled, pay) in enumerate(rows):
        due = filled * (price + conventions.grid_fee_micro_per_kwh) if side == BUY else -filled * price
        if pay != due:
            findings.append(Finding("one price", f"order {orders.id[row]} pays {pay}, not {due}"))
    return findings


def check_no_crossing(orders: Orders, clearing: Clearing, conventions: Conventions) -> list[Finding]:
    """No bid with something left is above an ask with something left (after lots, netting and the grid fee)."""
    book = terms(orders, conventions)
    left = book.quantity_wh > clearing.filled_wh
    bids = book.price_micro_per_kwh[left & (orders.side == BUY)]
    asks = book.price_micro_per_kwh[left & (orders.side != BUY)]
    if bids.size and asks.size and bids.max() > asks.min():
        return [Finding("no crossing left", f"a bid at {bids.max()} and an ask at {asks.min()} are left")]
    return []


def check_efficient(orders: Orders, clearing: Clearing, conventions: Conventions) -> list[Finding]:
    """The welfare of the exact solver is reached (net of the grid fee)."""
    book = terms(orders, conventions)
    columns = (orders.side.tolist(), book.price_micro_per_kwh.tolist(), clearing.filled_wh.tolist())
    reached = sum(side * price * filled for side, price, filled in zip(*columns, strict=True))
    best = best_welfare_nano(orders.side.tolist(), book.price_micro_per_kwh.tolist(), book.quantity_wh.tolist())
    return [Finding("efficient", f"welfare {reached} of {best} nano is reached")] if reached != best else []


def best_welfare_nano(side: list[int], price: list[int], quantity: list[int]) -> int:
    """The largest welfare of a book on one bus, exact: dearest bids against cheapest asks while a unit gains.

    >>> best_welfare_nano([1, 1, -1], [300, 200, 100], [10, 10, 15])
    2500
    """
    rows = zip(side, price, quantity, strict=True)
    book = [(p, q, s) for s, p, q in rows if q]
    bids = sorted(((p, q) for p, q, s in book if s == BUY), reverse=True)
    asks = sorted((p, q) for p, q, s in book if s != BUY)
    welfare = i = j = 0
    bid_left = ask_left = 0
    while True:
        if not bid_left:
            if i == len(bids):
                return welfare
            bid, bid_left = bids[i]
            i += 1
        if not ask_left:
            if j == len(asks):
                return welfare
            ask, ask_left = asks[j]
            j += 1
        if bid <= ask:
            return welfare
        energy = min(bid_left, ask_left)
        welfare += energy * (bid - ask)
        bid_left -= energy
        ask_left -= energy


def clearing_bytes(clearing: Clearing) -> bytes:
    """Everything in a clearing as bytes: equal exactly when two clearings are the same."""
    parts = [
        clearing.mechanism.encode(),
        clearing.filled_wh.tobytes(),
        clearing.pay_nano.tobytes(),
        repr((clearing.price_micro_per_kwh, clearing.losses_wh, clearing.inventory_wh)).encode(),
        b"" if clearing.node_price_micro_per_kwh is None else clearing.node_price_micro_per_kwh.tobytes(),
    ]
    if clearing.trades is not None:
        t = clearing.trades
        parts += [c.tobytes() for c in (t.buy, t.sell, t.energy_wh, t.price_micro_per_kwh)]
    for name in sorted(clearing.certificate):
        value = clearing.certificate[name]
        parts += [name.encode(), value.tobytes() if isinstance(value, np.ndarray) else repr(value).encode()]
    return b"\x00".join(parts)


def check_same_bytes(orders: Orders, clearing: Clearing, again: Clearing) -> list[Finding]:
    """The same input gives the same bytes."""
    return [] if clearing_bytes(clearing) == clearing_bytes(again) else [Finding("same bytes", "a second run differs")]


def check_order_free(orders: Orders, clearing: Clearing, moved: Clearing, sequence: NDArray[np.intp]) -> list[Finding]:
    """The rows of the book taken in another `sequence` give the same clearing, order by order."""
    findings = []
    for name in ("filled_wh", "pay_nano"):
        before, after = getattr(clearing, name)[sequence], getattr(moved, name)
        findings += [
            Finding("order free", f"order {orders.id[sequence[r]]}: {name} {before[r]} becomes {after[r]} when rows move")
            for r in np.flatnonzero(before != after)
        ]
    if clearing.price_micro_per_kwh != moved.price_micro_per_kwh:
        findings.append(Finding("order free", f"price {clearing.price_micro_per_kwh} becomes {moved.price_micro_per_kwh}"))
    return findings


def check_truthful(
    mechanism: Mechanism,
    orders: Orders,
    conventions: Conventions,
    network: object | None = None,
    extra: Mapping[str, object] | None = None,
    *,
    ways: tuple[str, ...] = ("price", "quantity"),
    tries: int = 200,
) -> list[Finding]:
    """No participant gains by a unilateral misreport that the bounded search of `game.best_misreport` finds."""
    findings = []
    for who in sorted(set(orders.participant.tolist())):
        found = best_misreport(mechanism, orders, conventions, who, network=network, extra=extra, ways=ways, tries=tries)
        if found.gain_nano > 0:
            findings.append(Finding("truthful", f"participant {who} gains {found.gain_nano} nano: {found.how}"))
    return findings


def check_price_truthful(
    mechanism: Mechanism,
    orders: Orders,
    conventions: Conventions,
    network: object | None = None,
    extra: Mapping[str, object] | None = None,
    *,
    tries: int = 200,
) -> list[Finding]:
    """No participant with a single order gains by another price: every limit of the book and its neighbours are tried."""
    findings = []
    participants, counts = np.unique(orders.participant, return_counts=True)
    for who in participants[counts == 1].tolist():
        found = best_misreport(mechanism, orders, conventions, who, network=network, extra=extra, ways=("price",), tries=tries)
        if found.gain_nano > 0:
            findings.append(Finding("price truthful", f"participant {who} gains {found.gain_nano} nano: {found.how}"))
    return findings


BY_CLAIM: dict[Claim, Callable[[Orders, Clearing, Conventions], list[Finding]]] = {
    Claim.WEAK_BUDGET_BALANCE: check_weak_budget,
    Claim.STRONG_BUDGET_BALANCE: check_strong_budget,
    Claim.INDIVIDUALLY_RATIONAL: check_individually_rational,
    Claim.EFFICIENT: check_efficient,
    Claim.NO_CROSSING_LEFT: check_no_crossing,
    Claim.ONE_PRICE: check_one_price,
}
"""The claims that one book and one clearing decide."""


def check_clearing(mechanism: Mechanism, orders: Orders, clearing: Clearing, conventions: Conventions) -> list[Finding]:
    """Every law that one book and one clearing decide: those that bind everyone and those that `mechanism` claims."""
    findings = check_columns(orders, clearing)
    if findings:
        return findings
    findings += check_energy(orders, clearing)
    findings += check_quantities(orders, clearing, conventions)
    findings += check_money(orders, clearing)
    findings += check_trades(orders, clearing)
    for claim in Claim:
        if claim in mechanism.claims and claim in BY_CLAIM:
            findings += BY_CLAIM[claim](orders, clearing, conventions)
    return findings


def check_laws(
    mechanism: Mechanism,
    orders: Orders,
    conventions: Conventions,
    network: object | None = None,
    extra: Mapping[str, object] | None = None,
    *,
    seed: int = 0,
    truthful_ways: tuple[str, ...] = ("price", "quantity"),
    truthful_tries: int = 0,
) -> list[Finding]:
    """Clear the book and run the whole suite. `seed` draws the other sequence of rows; the misreport search runs for
    mechanisms that claim TRUTHFUL when `truthful_tries` is above 0 (tries per participant)."""
    clearing = run(mechanism, orders, conventions, network, extra)
    findings = check_clearing(mechanism, orders, clearing, conventions)
    findings += check_same_bytes(orders, clearing, run(mechanism, orders, conventions, network, extra))
    if Claim.ORDER_FREE in mechanism.claims:
        sequence = np.random.default_rng(seed).permutation(orders.count)
        moved = run(mechanism, orders.take(sequence), conventions, network, move_rows(extra, sequence))
        findings += check_order_free(orders, clearing, moved, sequence)
    if Claim.TRUTHFUL in mechanism.claims and truthful_tries > 0:
        findings += check_truthful(mechanism, orders, conventions, network, extra, ways=truthful_ways, tries=truthful_tries)
    if Claim.PRICE_TRUTHFUL in mechanism.claims and truthful_tries > 0:
        findings += check_price_truthful(mechanism, orders, conventions, network, extra, tries=truthful_tries)
    return findings


def assert_laws(
    mechanism: Mechanism,
    orders: Orders,
    conventions: Conventions,
    network: object | None = None,
    extra: Mapping[str, object] | None = None,
    **options: object,
) -> None:
    """`check_laws`, raising ClearingError with every finding."""
    findings = check_laws(mechanism, orders, conventions, network, extra, **options)  # type: ignore[arg-type]
    if findings:
        raise ClearingError(
            f"{mechanism.name} breaks {len(findings)} laws:\n" + "\n".join(f"  {finding}" for finding in findings[:20]),
            thing=tuple(findings),
        )


def move_rows(extra: Mapping[str, object] | None, sequence: NDArray[np.intp]) -> Mapping[str, object] | None:
    """The extra parts of a book whose rows are taken in another sequence: the fields of the orders move along."""
    if not extra:
        return extra
    moved = dict(extra)
    for part in ("ids",):
        if isinstance(moved.get(part), list):
            moved[part] = [moved[part][r] for r in sequence.tolist()]  # type: ignore[index]
    fields = moved.get(ORDER_EXTRA)
    if isinstance(fields, Mapping):
        moved[ORDER_EXTRA] = {name: [values[r] for r in sequence.tolist()] for name, values in fields.items()}
    return moved


def participant_sums(orders: Orders, column: NDArray[np.int64]) -> dict[int, int]:
    """Exact sum of `column` by participant."""
    sums: defaultdict[int, int] = defaultdict(int)
    for who, value in zip(orders.participant.tolist(), column.tolist(), strict=True):
        sums[who] += value
    return dict(sums)
