"""Batteries: ten thousand exact day plans, and what a day with negative prices costs beyond an ordinary one.

Each battery has its own home, size and prices; a plan is its whole value function over 96 slots. A day with negative prices (here
eight noon slots, when surplus costs money) leaves the concave case, and is planned by the general recursion: exact as well.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bench.harness import Result, at_most, side_by_side
from walras.devices import Battery, BatteryFleet, fleet_from_records, plan_values
from walras.units import Int64

SLOTS, BATTERIES = 96, 10_000


def day(seed: int, negative: bool) -> tuple[BatteryFleet, Int64, Int64, Int64]:
    """A fleet, and net load, import and export prices [slots, batteries]."""
    draw = np.random.default_rng(seed)
    sizes = draw.integers(4_000, 14_000, BATTERIES).tolist()
    fleet = fleet_from_records([Battery(wh, wh // 2, 0.95, 0.95, wh // 3) for wh in sizes], range(BATTERIES), 15)
    hour = np.arange(SLOTS)[:, None] / 4
    load = 80 + 60 * np.exp(-(((hour - 19) / 3) ** 2)) + draw.uniform(0, 120, (SLOTS, BATTERIES))
    sun = draw.uniform(300, 1_800, BATTERIES) * np.exp(-(((hour - 13) / 2.6) ** 2))
    buy = np.rint(250_000 + 60_000 * np.sin(hour / 24 * 4 * np.pi) + draw.uniform(-20_000, 20_000, (SLOTS, 1)))
    buy = np.broadcast_to(buy, load.shape).astype(np.int64)
    sell = np.full(load.shape, 80_000, dtype=np.int64)
    if negative:
        sell[48:56] = -60_000
    return fleet, np.rint(load - sun).astype(np.int64), buy, sell


def planning(negative: bool) -> Callable[[], object]:
    """The plans of one such day."""
    fleet, net, buy, sell = day(1, negative)
    return lambda: plan_values(fleet, net, buy, sell, keep=SLOTS)


def results() -> list[Result]:
    """Both claims."""
    ordinary, negative = side_by_side(planning(False), planning(True), rounds=3)
    return [
        at_most("devices: 10,000 battery days, over 0.5 s", ordinary / 0.5, 1.0, f"{ordinary:.3f} s for 10,000 plans of 96 slots"),
        at_most(
            "devices: battery days with negative prices, over ordinary ones",
            negative / ordinary,
            3.0,
            f"{negative:.3f} s with eight negative slots, {ordinary:.3f} s without",
        ),
    ]
