"""Batteries: ten thousand exact day plans, and what a day with negative prices costs beyond an ordinary one.

Each battery has its own home, size and prices; a plan is its whole value function over 96 slots. Where surplus costs money, or an
export price is above the import price, values leave the concave case (`devices/battery_general.py`): exact as well. The claim is
for two hours of negative prices at noon. What harder days cost is said beside it, up to days that no market has: negative export
prices in every slot, export above import all day, and prices of any sign drawn anew for every slot.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.harness import Result, at_most, side_by_side
from walras.devices import Battery, BatteryFleet, fleet_from_records, plan_values
from walras.units import Int64

SLOTS, BATTERIES, FEW = 96, 10_000, 1_000

HARDER = {
    "six hours": "six hours negative",
    "always": "negative in every slot",
    "reversed": "export above import all day",
    "random": "any sign drawn for every slot",
}


def day(seed: int, kind: str, batteries: int = BATTERIES) -> tuple[BatteryFleet, Int64, Int64, Int64]:
    """A fleet, and net load, import and export prices [slots, batteries]; `kind` is ordinary, noon, or a key of HARDER."""
    draw = np.random.default_rng(seed)
    sizes = draw.integers(4_000, 14_000, batteries).tolist()
    fleet = fleet_from_records([Battery(wh, wh // 2, 0.95, 0.95, wh // 3) for wh in sizes], range(batteries), 15)
    hour = np.arange(SLOTS)[:, None] / 4
    load = 80 + 60 * np.exp(-(((hour - 19) / 3) ** 2)) + draw.uniform(0, 120, (SLOTS, batteries))
    sun = draw.uniform(300, 1_800, batteries) * np.exp(-(((hour - 13) / 2.6) ** 2))
    buy = np.rint(250_000 + 60_000 * np.sin(hour / 24 * 4 * np.pi) + draw.uniform(-20_000, 20_000, (SLOTS, 1)))
    buy = np.broadcast_to(buy, load.shape).astype(np.int64)
    sell = np.full(load.shape, 80_000, dtype=np.int64)
    if kind == "noon":
        sell[48:56] = -60_000
    elif kind == "six hours":
        sell[40:64] = -30_000 - 3_000 * (12 - np.abs(np.arange(24) - 12))[:, None]
    elif kind == "always":
        sell[:] = -60_000
    elif kind == "reversed":
        sell = buy + 50_000
    elif kind == "random":
        buy, sell = (np.repeat(draw.integers(-150_000, 250_000, (SLOTS, 1)), batteries, axis=1) for _ in range(2))
    return fleet, np.rint(load - sun).astype(np.int64), buy, sell


def planning(kind: str, batteries: int = BATTERIES) -> Callable[[], object]:
    """The plans of one such day."""
    fleet, net, buy, sell = day(1, kind, batteries)
    return lambda: plan_values(fleet, net, buy, sell, keep=SLOTS)


def harder_days() -> str:
    """What each harder day costs over an ordinary one, with fewer batteries."""
    told = []
    for kind, words in HARDER.items():
        hard, ordinary = side_by_side(planning(kind, FEW), planning("ordinary", FEW))
        told.append(f"{words} {hard / ordinary:.1f} times")
    return "; ".join(told)


def results() -> list[Result]:
    """Both claims."""
    ordinary, noon = side_by_side(planning("ordinary"), planning("noon"), rounds=5)
    return [
        at_most("devices: 10,000 battery days, over 0.5 s", ordinary / 0.5, 1.0, f"{ordinary:.3f} s for 10,000 plans of 96 slots"),
        at_most(
            "devices: battery days with negative prices, over ordinary ones",
            noon / ordinary,
            3.0,
            f"{noon:.3f} s with eight negative slots, {ordinary:.3f} s without; harder days: {harder_days()}",
        ),
    ]
