"""A book of orders as JSON, and its clearing as JSON: the format by which others check us.

In:   {"conventions": {...}, "orders": [{"id", "participant", "side": "buy"|"sell", "quantity_wh", "price_micro_per_kwh",
      "time" (optional, 0), "node" (optional, 0)}]}, and what the mechanism declares beyond that.
Out:  {"mechanism", "price_micro_per_kwh" (null: each fill then carries its own), "volume_wh", "welfare_nano",
      "surplus_nano", "fills": [{"id", "filled_wh", "pay_nano"}], "trades": [{"buy", "sell", "wh", "price_micro_per_kwh"}]
      (where the rule pairs orders)}.

Ids and participants are texts or whole numbers. Inside they are their ranks (numbers in order, then texts in order), so
that neither the sequence of the rows nor that of the file decides a tie: among equals it is time, then id.
Nothing is guessed: an unknown field, a NaN, a truth value for a number, a fraction of a Wh, a number out of range or a
second order of the same id is a fault, and all faults are reported at once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from walras.errors import Fault, InputError
from walras.market.clearing import Clearing, volume_wh, welfare_nano
from walras.market.conventions import Conventions, read_conventions
from walras.market.game import FALSE_NAMES, OWN_NAME, best_misreport
from walras.market.mechanism import IDS, ORDER_EXTRA, Claim, Mechanism, run
from walras.market.orders import BUY, SELL, Orders, make_orders
from walras.market.registry import MECHANISMS, mechanism_named
from walras.units import INT64_MAX, MAX_ENERGY_WH, MAX_PRICE_MICRO_PER_KWH

_WHOLE_FIELDS: dict[str, tuple[int, int, bool]] = {
    "quantity_wh": (0, MAX_ENERGY_WH, True),
    "price_micro_per_kwh": (-MAX_PRICE_MICRO_PER_KWH, MAX_PRICE_MICRO_PER_KWH, True),
    "time": (-INT64_MAX, INT64_MAX, False),
    "node": (0, INT64_MAX, False),
}
"""Smallest, largest, whether it must be there; what is left out is 0."""

ORDER_FIELDS = ("id", "participant", "side", *_WHOLE_FIELDS)


def parse_book(text: str) -> dict[str, object]:
    """The JSON text of a book; InputError if it is no JSON object or says a field twice."""
    twice: list[str] = []

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        seen = dict(pairs)
        if len(seen) < len(pairs):
            names = [name for name, _ in pairs]
            twice.extend(sorted({name for name in names if names.count(name) > 1}))
        return seen

    try:
        book = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as cause:
        raise InputError("book", [Fault("book", "text", str(cause), "a JSON object")]) from cause
    if twice:
        raise InputError("book", [Fault("book", name, "given twice", "each field once") for name in twice])
    if not isinstance(book, dict):
        raise InputError("book", [Fault("book", "text", type(book).__name__, "a JSON object")])
    return book


def read_book(
    book: Mapping[str, object], mechanism: Mechanism, shelf: Mapping[str, Mechanism] = MECHANISMS
) -> tuple[Orders, Conventions, dict[str, object]]:
    """Orders, conventions and the mechanism's extra parts (IDS: the ids as written, by row). InputError with every fault; one
    for a part that the mechanism does not take names those on `shelf` that do.
    """
    faults = _part_faults(book, mechanism, shelf)
    conventions = Conventions()
    given = book.get("conventions", {})
    if isinstance(given, Mapping):
        try:
            conventions = read_conventions(given)
        except InputError as error:
            faults += error.faults
    else:
        faults.append(Fault("book", "conventions", given, "an object"))
    rows = book.get("orders")
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        faults.append(Fault("book", "orders", rows, "a list of orders"))
        rows = []
    faults += _order_faults(rows, mechanism, shelf)
    if faults:
        raise InputError("book", faults)
    extra: dict[str, object] = {name: book[name] for name, _ in mechanism.extra if name in book}
    if mechanism.extra or mechanism.order_extra:
        extra[IDS] = [row["id"] for row in rows]
        extra[ORDER_EXTRA] = {name: [row.get(name) for row in rows] for name, _ in mechanism.order_extra}
    return _columns(rows), conventions, extra


def clear_book(book: Mapping[str, object], mechanism: str, shelf: Mapping[str, Mechanism] = MECHANISMS) -> dict[str, object]:
    """Clear a book (parsed JSON) under the mechanism of that name on `shelf`.

    >>> order = {"id": "a", "participant": "ann", "side": "buy", "quantity_wh": 500, "price_micro_per_kwh": 300_000}
    >>> offer = {"id": "b", "participant": "bob", "side": "sell", "quantity_wh": 800, "price_micro_per_kwh": 100_000}
    >>> clear_book({"orders": [order, offer]}, "uniform")["fills"][1]
    {'id': 'b', 'filled_wh': 500, 'pay_nano': -50000000}
    """
    chosen = mechanism_named(mechanism, shelf)
    orders, conventions, extra = read_book(book, chosen, shelf)
    clearing = run(chosen, orders, conventions, None, extra)
    rows = book["orders"]
    assert isinstance(rows, Sequence)
    result = describe_clearing(orders, clearing, [row["id"] for row in rows])
    if chosen.report is not None:
        result |= chosen.report(clearing, extra)
    return result


def play_book(
    book: Mapping[str, object], mechanism: str, *, tries: int = 400, seed: int = 0, shelf: Mapping[str, Mechanism] = MECHANISMS
) -> dict[str, object]:
    """The incentive audit of a book: for each participant the best unilateral misreport found (`game.best_misreport`).

    Out: {"mechanism", "claims_truthful", "largest_gain_nano", "misreports": [{"participant", "honest_nano", "gain_nano", "how",
    "tried", "false_names": {"gain_nano", "how", "tried"}}]}, those who gain most first. Lies under one's own name stand in the row,
    lies under several names apart: no rule here claims truth to be dominant against the latter.
    """
    chosen = mechanism_named(mechanism, shelf)
    orders, conventions, extra = read_book(book, chosen, shelf)
    rows = book["orders"]
    assert isinstance(rows, Sequence)
    names = {int(number): row["participant"] for number, row in zip(orders.participant, rows, strict=True)}
    ids = [row["id"] for row in rows]
    found = []
    for number in sorted(names):
        own, several = (
            best_misreport(chosen, orders, conventions, number, extra=extra or None, tries=tries, seed=seed, names=ids, ways=ways)
            for ways in (OWN_NAME, FALSE_NAMES)
        )
        found.append((own, several))
    found.sort(key=lambda pair: (-pair[0].gain_nano, pair[0].participant))
    return {
        "mechanism": mechanism,
        "claims_truthful": Claim.TRUTHFUL in chosen.claims,
        "largest_gain_nano": found[0][0].gain_nano if found else 0,
        "misreports": [
            {
                "participant": names[own.participant],
                "honest_nano": own.honest_nano,
                "gain_nano": own.gain_nano,
                "how": own.how,
                "tried": own.tried,
                "false_names": {"gain_nano": several.gain_nano, "how": several.how, "tried": several.tried},
            }
            for own, several in found
        ],
    }


def describe_clearing(orders: Orders, clearing: Clearing, ids: Sequence[object]) -> dict[str, object]:
    """A clearing in the fixed format; `ids` [n] are the ids as written."""
    filled, pay, side = clearing.filled_wh.tolist(), clearing.pay_nano.tolist(), orders.side.tolist()
    fills: list[dict[str, object]] = [
        {"id": name, "filled_wh": energy, "pay_nano": money} for name, energy, money in zip(ids, filled, pay, strict=True)
    ]
    if clearing.price_micro_per_kwh is None:
        for fill, energy, money, sign in zip(fills, filled, pay, side, strict=True):
            fill["price_micro_per_kwh"] = _price_of(sign * money, energy)
    result: dict[str, object] = {
        "mechanism": clearing.mechanism,
        "price_micro_per_kwh": clearing.price_micro_per_kwh,
        "volume_wh": volume_wh(orders, clearing),
        "welfare_nano": welfare_nano(orders, clearing),
        "surplus_nano": clearing.surplus_nano,
        "fills": fills,
    }
    if clearing.trades is not None:
        t = clearing.trades
        columns = (t.buy.tolist(), t.sell.tolist(), t.energy_wh.tolist(), t.price_micro_per_kwh.tolist())
        result["trades"] = [
            {"buy": ids[buy], "sell": ids[sell], "wh": energy, "price_micro_per_kwh": price}
            for buy, sell, energy, price in zip(*columns, strict=True)
        ]
    return result


def describe_mechanisms(shelf: Mapping[str, Mechanism] = MECHANISMS) -> list[dict[str, object]]:
    """Every mechanism with what it claims, the conventions it heeds and what its book carries beyond orders."""
    return [
        {
            "name": m.name,
            "title": m.title,
            "reference": m.reference,
            "claims": sorted(claim.value for claim in m.claims),
            "conventions": list(m.conventions),
            "extra": dict(m.extra),
            "order_extra": dict(m.order_extra),
        }
        for m in shelf.values()
    ]


def _price_of(money_nano: int, energy_wh: int) -> int | float | None:
    """Money for each unit: exact where it is whole, else the nearest float; None where nothing is filled."""
    if energy_wh == 0:
        return None
    price = Fraction(money_nano, energy_wh)
    return int(price) if price.denominator == 1 else float(price)


def _part_faults(book: Mapping[str, object], mechanism: Mechanism, shelf: Mapping[str, Mechanism]) -> list[Fault]:
    known = {"conventions", "orders", *(name for name, _ in mechanism.extra)}
    faults = []
    for name, value in book.items():
        if name in known:
            continue
        able = sorted(m.name for m in shelf.values() if name in dict(m.extra))
        wanted = f"a mechanism that takes it: {', '.join(able)}" if able else "one of " + ", ".join(sorted(known))
        faults.append(Fault("book", name, value if not able else f"given to {mechanism.name}", wanted))
    return faults


def _order_faults(rows: Sequence[object], mechanism: Mechanism, shelf: Mapping[str, Mechanism]) -> list[Fault]:
    known = {*ORDER_FIELDS, *(name for name, _ in mechanism.order_extra)}
    faults: list[Fault] = []
    seen: set[object] = set()
    for number, row in enumerate(rows):
        if not isinstance(row, Mapping):
            faults.append(Fault(f"order row {number}", "order", row, "an object"))
            continue
        name = row.get("id")
        where = f"order {name!r}" if _is_name(name) else f"order row {number}"
        for field in ("id", "participant"):
            if not _is_name(row.get(field)):
                faults.append(Fault(where, field, row.get(field), "a text or a whole number"))
        if _is_name(name):
            if name in seen:
                faults.append(Fault(f"order row {number}", "id", name, "a unique id"))
            seen.add(name)
        if row.get("side") not in ("buy", "sell"):
            faults.append(Fault(where, "side", row.get("side"), '"buy" or "sell"'))
        for field, (low, high, needed) in _WHOLE_FIELDS.items():
            if field in row or needed:
                value = row.get(field)
                whole = _whole(value)
                if whole is None or not low <= whole <= high:
                    faults.append(Fault(where, field, value, f"a whole number from {low} to {high}"))
        for field in row:
            if field not in known:
                able = sorted(m.name for m in shelf.values() if field in dict(m.order_extra))
                wanted = f"a mechanism that takes it: {', '.join(able)}" if able else "one of " + ", ".join(sorted(known))
                faults.append(Fault(where, str(field), row[field], wanted))
    return faults


def _is_name(value: object) -> bool:
    return (isinstance(value, str) and value != "") or (isinstance(value, int) and not isinstance(value, bool))


def _whole(value: object) -> int | None:
    """A whole number, also where JSON wrote it as 1e3 or 1000.0; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and math.isfinite(value) and value == int(value) and abs(value) < 2**53:
        return int(value)
    return None


def _columns(rows: Sequence[Mapping[str, object]]) -> Orders:
    whole = {name: [_whole(row.get(name, 0)) or 0 for row in rows] for name in _WHOLE_FIELDS}
    return make_orders(
        [BUY if row["side"] == "buy" else SELL for row in rows],
        whole["quantity_wh"],
        whole["price_micro_per_kwh"],
        participant=_ranks([row["participant"] for row in rows]),
        id=_ranks([row["id"] for row in rows]),
        time=whole["time"],
        node=whole["node"],
    )


def _ranks(names: Sequence[object]) -> list[int]:
    """Each name's place among the distinct names: whole numbers by value, then texts by code point."""
    ordered = sorted(set(names), key=lambda name: (isinstance(name, str), name))
    rank = {name: place for place, name in enumerate(ordered)}
    return [rank[name] for name in names]
