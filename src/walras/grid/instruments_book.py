"""What a book on the wires can carry beside its orders, and one rule more: rights between nodes, relief, and redispatch.

Beyond what `nodal_book` says, a book for `nodal` may carry

    "rights":  [{"holder", "source": bus, "sink": bus, "energy_wh"}]: virtual trades, settled at the difference of the prices that
               limits make and paid out of the congestion rent (`rights.py`)
    "relief":  [{"participant", "bus", "baseline_wh", "metered_wh", "agreed_wh"}]: who took less than its baseline (or more, where
               `agreed_wh` < 0) is paid what the limits at its bus were worth (`relief.py`)

and the answer then has "rights" and "relief" too. The mechanism `redispatch` clears the same book as if the wires were copper, by
the uniform price, then moves orders at the least cost until the wires carry it (`congestion.py`); its answer says who was moved,
by how much, and what that cost the operator. `walras game` on it finds who gains by being moved.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from walras.errors import Fault, InputError
from walras.grid.congestion import redispatch
from walras.grid.network import Network
from walras.grid.nodal_book import EXTRA, ORDER, describe_nodal, feeder_slot, read_network, read_number
from walras.grid.nodal_book import SHELF as NODAL_SHELF
from walras.grid.relief import delivered_relief, power_at, relief_prices, relief_rewards
from walras.grid.rent import congestion_rent, scarcity_price
from walras.grid.rights import make_rights, settle_rights, simultaneously_feasible
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.mechanism import IDS, Claim, Mechanism
from walras.market.orders import Orders
from walras.market.uniform import UNIFORM
from walras.units import MAX_ENERGY_WH

RIGHTS = ("holder", "source", "sink", "energy_wh")
RELIEF = ("participant", "bus", "baseline_wh", "metered_wh", "agreed_wh")
MORE = (
    ("rights", "virtual trades: list of " + ", ".join(RIGHTS)),
    ("relief", "energy taken less than a baseline: list of " + ", ".join(RELIEF)),
)
LIMITS = ("limit_kind", "limit_index", "limit_price_micro_per_hour", "limit_short_ppm")


def _nodal(orders: Orders, conventions: Conventions, network: object | None = None, *, extra: Mapping[str, object]) -> Clearing:
    """Nodal clearing; the worth of relief by limit and bus is added where the book asks for it."""
    slot = feeder_slot(extra, orders)
    rights, relief = _instruments(extra, slot.network)
    done = NODAL_SHELF["nodal"].clear(orders, conventions, slot, extra=extra)
    more: dict[str, Any] = {}
    if relief:
        worth = relief_prices(slot, power_at(orders, done, slot), done)
        more["relief_micro_per_kwh"] = np.asarray(worth.sum(axis=0), dtype=np.int64)
    if rights:
        more["rights_fit"] = int(simultaneously_feasible(slot, make_rights(slot.network, range(len(rights)), *_columns(rights))))
    return replace(done, certificate={**done.certificate, **more})


def _describe_nodal(clearing: Clearing, extra: Mapping[str, object]) -> Mapping[str, object]:
    said = dict(describe_nodal(clearing, extra))
    network = read_network(extra.get("network"), [])
    assert network is not None
    rights, relief = _instruments(extra, network)
    if rights:
        held = make_rights(network, range(len(rights)), *_columns(rights))
        done = settle_rights(held, scarcity_price(clearing), congestion_rent(clearing))
        said["rights"] = {
            "settled": [
                {"holder": row["holder"], "due_nano": due, "paid_nano": paid}
                for row, due, paid in zip(rights, done.due_nano.tolist(), done.paid_nano.tolist(), strict=True)
            ],
            "rent_nano": done.rent_nano,
            "left_nano": done.left_nano,
            "short_nano": done.short_nano,
            "the_wires_carry_all_at_once": bool(np.asarray(clearing.certificate["rights_fit"])),
        }
    if relief:
        columns = ([row[name] for row in relief] for name in ("baseline_wh", "metered_wh", "agreed_wh"))
        delivered = delivered_relief(*columns)
        price = np.asarray(clearing.certificate["relief_micro_per_kwh"])
        reward = relief_rewards(price[None], np.array([row["bus"] for row in relief]), delivered)[0]
        said["relief"] = [
            {
                "participant": row["participant"],
                "delivered_wh": wh,
                "price_micro_per_kwh": int(price[row["bus"]]),
                "reward_nano": nano,
            }
            for row, wh, nano in zip(relief, delivered.tolist(), reward.tolist(), strict=True)
        ]
    return said


def _redispatch(
    orders: Orders, conventions: Conventions, network: object | None = None, *, extra: Mapping[str, object]
) -> Clearing:
    """The uniform price on copper, then the least change that the wires need. Payments are of both."""
    slot = feeder_slot(extra, orders)
    before = UNIFORM.clear(orders, conventions)
    done = redispatch(orders, before, slot, conventions)
    evidence = {name: done.clearing.certificate[name] for name in LIMITS}
    evidence |= {"moved_wh": done.moved_wh, "move_pay_nano": done.pay_nano, "cost_nano": done.cost_nano}
    if before.price_micro_per_kwh is not None:
        evidence["copper_price_micro_per_kwh"] = before.price_micro_per_kwh
    pay = np.asarray(before.pay_nano + done.pay_nano, dtype=np.int64)
    return Clearing("redispatch", done.filled_wh, pay, None, losses_wh=done.clearing.losses_wh, certificate=evidence)


def _describe_redispatch(clearing: Clearing, extra: Mapping[str, object]) -> Mapping[str, object]:
    evidence, ids = clearing.certificate, extra[IDS]
    assert isinstance(ids, Sequence)
    columns = (np.asarray(evidence[name]).tolist() for name in ("moved_wh", "move_pay_nano"))
    moved = [{"id": i, "moved_wh": wh, "pay_nano": nano} for i, wh, nano in zip(ids, *columns, strict=True) if wh]
    price = evidence.get("copper_price_micro_per_kwh")
    limits = describe_nodal(clearing, extra)["limits"]
    return {
        "copper_price_micro_per_kwh": None if price is None else int(np.asarray(price)),
        "moved": moved,
        "redispatch_cost_nano": int(np.asarray(evidence["cost_nano"])),
        "losses_wh": clearing.losses_wh,
        "limits": limits,
    }


def _instruments(extra: Mapping[str, object], network: Network) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rights and relief of a book; InputError with the faults of both."""
    faults: list[Fault] = []
    found: list[list[dict[str, Any]]] = []
    for part in ("rights", "relief"):
        try:
            found.append(_rows(extra, part, network))
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError("book", faults)
    return found[0], found[1]


def _rows(extra: Mapping[str, object], part: str, network: Network) -> list[dict[str, Any]]:
    """The rows of a part, with buses as places and energies whole; InputError with every fault."""
    given, names = extra.get(part, []), RIGHTS if part == "rights" else RELIEF
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise InputError("book", [Fault("book", part, given, "a list of objects with " + ", ".join(names))])
    faults: list[Fault] = []
    rows = []
    for number, row in enumerate(given):
        where = f"{part}[{number}]"
        if not isinstance(row, Mapping):
            faults.append(Fault(where, "row", row, "an object with " + ", ".join(names)))
            continue
        faults += [Fault(where, name, "missing", "needed") for name in names if name not in row]
        faults += [Fault(where, str(name), row[name], "one of " + ", ".join(names)) for name in row if name not in names]
        rows.append({name: _cell(where, name, row[name], network, faults) for name in names if name in row})
    if faults:
        raise InputError("book", faults)
    return rows


def _cell(where: str, name: str, value: object, network: Network, faults: list[Fault]) -> object:
    if name in ("source", "sink", "bus"):
        if not isinstance(value, str) or value not in network.bus_index:
            faults.append(Fault(where, name, value, "one of " + ", ".join(network.bus_names[:8])))
            return 0
        return network.bus_index[value]
    if name.endswith("_wh"):
        number = read_number(where, name, value, faults)
        low = 0 if name == "energy_wh" else -MAX_ENERGY_WH
        if not number.is_integer() or not low <= number <= MAX_ENERGY_WH:
            faults.append(Fault(where, name, value, f"a whole number of Wh from {low} to {MAX_ENERGY_WH}"))
            return 0
        return int(number)
    if isinstance(value, bool) or not isinstance(value, int | str):
        faults.append(Fault(where, name, value, "a text or a whole number"))
    return value


def _columns(rights: list[dict[str, Any]]) -> tuple[list[int], ...]:
    return tuple([row[name] for row in rights] for name in RIGHTS[1:])


REDISPATCH = Mechanism(
    name="redispatch",
    title="uniform price on a copper plate, then redispatch within the limits at the least cost",
    reference="Kirschen and Strbac, Fundamentals of Power System Economics, 2018, chapter 5",
    clear=_redispatch,
    claims=frozenset({Claim.INDIVIDUALLY_RATIONAL}),
    conventions=UNIFORM.conventions,
    extra=EXTRA,
    order_extra=ORDER,
    report=_describe_redispatch,
)

SHELF: dict[str, Mechanism] = {
    **NODAL_SHELF,
    "nodal": replace(NODAL_SHELF["nodal"], clear=_nodal, extra=(*EXTRA, *MORE), report=_describe_nodal),
    "redispatch": REDISPATCH,
}
"""Every mechanism that a book can be cleared by, with what the wires add."""
