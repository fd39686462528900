"""Shadow prices as a product: over many slots, which limits bound, for how long, and what one more unit would have been worth.

The rule: only published numbers count. Each nodal clearing carries, for each limit, its price per hour for one more unit (1 kVA of
a branch, 0.01 pu of voltage, 1 kW of import, export or reserve, 1 kg/h of carbon); the worth over a period is the sum of price
times slot length.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from walras.grid.network import Network
from walras.grid.rows import HIGH_VOLTAGE, LIMIT_NAMES, TRANSFORMER_LIMIT
from walras.market.clearing import Clearing

UNITS = ("kVA", "kVA", "0.01 pu", "0.01 pu", "kW", "kW", "kg/h", "kW", "kW")


@dataclass(frozen=True, slots=True)
class LimitWorth:
    """One limit over a period: hours in which it had a price, hours in which it stayed broken, and what one more `unit` of it
    would have been worth in all (micro-units of currency) and at most in one hour (micro per hour).
    """

    kind: str
    name: str
    unit: str
    bound_hours: float
    broken_hours: float
    worth_micro: int
    peak_micro_per_hour: int


def limit_worths(network: Network, clearings: Iterable[Clearing], hours: float) -> list[LimitWorth]:
    """Every limit that bound or broke in the clearings of slots of `hours`, the most valuable first."""
    total: dict[tuple[int, int], list[float]] = {}
    for clearing in clearings:
        evidence = clearing.certificate
        columns = (evidence[n] for n in ("limit_kind", "limit_index", "limit_price_micro_per_hour", "limit_short_ppm"))
        for kind, index, price, short in zip(*(np.asarray(column).tolist() for column in columns), strict=True):
            if price > 0 or short > 0:
                sums = total.setdefault((kind, index), [0, 0, 0, 0])
                sums[0] += hours if price > 0 and not short else 0.0
                sums[1] += hours if short else 0.0
                sums[2] += 0 if short else price
                sums[3] = max(sums[3], 0 if short else price)
    found = [
        LimitWorth(LIMIT_NAMES[kind], _name(network, kind, index), UNITS[kind], s[0], s[1], round(s[2] * hours), int(s[3]))
        for (kind, index), s in total.items()
    ]
    return sorted(found, key=lambda limit: (-limit.worth_micro, -limit.broken_hours, limit.kind, limit.name))


def _name(network: Network, kind: int, index: int) -> str:
    if kind <= TRANSFORMER_LIMIT:
        return network.branch_names[index]
    return network.bus_names[index] if kind <= HIGH_VOLTAGE else network.bus_names[network.root]
