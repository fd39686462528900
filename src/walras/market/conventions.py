"""The conventions on which markets differ, as named parameters of one frozen record: never habits of the code.

k              where the uniform price lies in the interval [low, high]: low + floor(k * (high - low)). k = 1 is the buyer's
               bid (seller keeps the gain), k = 0 the seller's ask: Chatterjee and Samuelson, "Bargaining under incomplete
               information", Operations Research 31 (1983).
price_between  "supporting": the whole interval of prices at which the book balances (losing orders bound it too);
               "marginal_orders": between the last filled ask and the last filled bid.
tie            among equal prices at the margin: "pro_rata" (largest remainder, dust to the earlier), "time" (earlier first,
               then smaller id), "lot" (a permutation drawn from `seed` over the ids, published with the clearing).
self_trade     "allow", or "prevent": a participant's own crossing orders are netted before the book clears.
lot_wh         fills are whole multiples of this many Wh.
scarcity_price_micro_per_kwh
               if given and one side is used up while orders of the other go short that would trade at the last price
               filled on it (supply short: a bid at or above the last filled ask; demand short: an ask at or below the last
               filled bid), the price goes as near to this as the interval of supporting prices allows.
grid_fee_micro_per_kwh
               network fee inside the merit order: a bid is matched net of it; the buyer pays price + fee, the fee is part of
               the operator's surplus.
engine         on the wires only: nothing, or "conic": the optimum is also sought by a second-order cone program, and a clearing
               that it does not confirm is refused (`grid.conic`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Literal, get_args

from walras.errors import Fault, InputError
from walras.units import MAX_ENERGY_WH, MAX_PRICE_MICRO_PER_KWH

PriceBetween = Literal["supporting", "marginal_orders"]
Tie = Literal["pro_rata", "time", "lot"]
SelfTrade = Literal["allow", "prevent"]
Engine = Literal["conic"]


@dataclass(frozen=True, slots=True)
class Conventions:
    """One choice for each convention; the defaults are the exchange's own."""

    k: Fraction = Fraction(1, 2)
    price_between: PriceBetween = "supporting"
    tie: Tie = "pro_rata"
    seed: int = 0
    self_trade: SelfTrade = "allow"
    lot_wh: int = 1
    scarcity_price_micro_per_kwh: int | None = None
    grid_fee_micro_per_kwh: int = 0
    engine: Engine | None = None

    def __post_init__(self) -> None:
        faults = conventions_faults(self)
        if faults:
            raise InputError("conventions", faults)


def conventions_faults(c: Conventions) -> list[Fault]:
    """Every convention that is out of its range."""
    where = "conventions"
    limit = MAX_PRICE_MICRO_PER_KWH
    faults = []
    if not isinstance(c.k, Fraction) or not 0 <= c.k <= 1:
        faults.append(Fault(where, "k", c.k, "a number between 0 and 1"))
    choices: tuple[tuple[str, object, tuple[str, ...]], ...] = (
        ("price_between", c.price_between, get_args(PriceBetween)),
        ("tie", c.tie, get_args(Tie)),
        ("self_trade", c.self_trade, get_args(SelfTrade)),
    )
    faults += [
        Fault(where, name, value, "one of " + ", ".join(allowed)) for name, value, allowed in choices if value not in allowed
    ]
    if c.engine is not None and c.engine not in get_args(Engine):
        faults.append(Fault(where, "engine", c.engine, "conic, or nothing"))
    if not _is_whole(c.seed) or not 0 <= c.seed < 2**64:
        faults.append(Fault(where, "seed", c.seed, "a whole number from 0 to 2**64 - 1"))
    if not _is_whole(c.lot_wh) or not 1 <= c.lot_wh <= MAX_ENERGY_WH:
        faults.append(Fault(where, "lot_wh", c.lot_wh, f"a whole number from 1 to {MAX_ENERGY_WH}"))
    scarcity = c.scarcity_price_micro_per_kwh
    if scarcity is not None and (not _is_whole(scarcity) or abs(scarcity) > limit):
        faults.append(Fault(where, "scarcity_price_micro_per_kwh", scarcity, f"a whole number up to {limit}, or nothing"))
    if not _is_whole(c.grid_fee_micro_per_kwh) or not 0 <= c.grid_fee_micro_per_kwh <= limit:
        faults.append(Fault(where, "grid_fee_micro_per_kwh", c.grid_fee_micro_per_kwh, f"a whole number from 0 to {limit}"))
    return faults


def read_conventions(values: Mapping[str, object]) -> Conventions:
    """Conventions from a mapping as JSON or TOML give it; every unknown or bad entry is one fault.

    >>> read_conventions({"k": 0.5, "tie": "time"}).tie
    'time'
    """
    known = {field.name for field in fields(Conventions)}
    faults = [
        Fault("conventions", name, value, "one of " + ", ".join(sorted(known)))
        for name, value in values.items()
        if name not in known
    ]
    chosen = {name: value for name, value in values.items() if name in known}
    if "k" in chosen:
        k = chosen["k"]
        if isinstance(k, bool) or not isinstance(k, int | float | str | Fraction):
            faults.append(Fault("conventions", "k", k, "a number between 0 and 1"))
            del chosen["k"]
        else:
            try:
                chosen["k"] = Fraction(str(k))
            except (ValueError, ZeroDivisionError):
                faults.append(Fault("conventions", "k", k, "a number between 0 and 1"))
                del chosen["k"]
    probe = object.__new__(Conventions)
    for field in fields(Conventions):
        object.__setattr__(probe, field.name, chosen.get(field.name, field.default))
    faults += conventions_faults(probe)
    if faults:
        raise InputError("conventions", faults)
    return probe


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
