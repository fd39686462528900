"""The statistics that may be published of a community: what each is made of, and how far one member can move it.

All of them are functions of what the members' meters measured in a period. Each member's energy, import and export for itself, is
first brought down to at most `cap_wh` over the whole period (in proportion, rounded down), so that a member's row has an
L1 norm of at most the cap whatever they did. With that, between any two things that one member may have done:

    statistic          one value    several    why
    consumption, feed_in    cap     2 * cap    a row of energies >= 0 of at most the cap takes the place of another
    shared              2 * cap     4 * cap    the lesser of feeder import and export moves, slot by slot, by at most what the
                                               member took plus what they gave
    feeding_in, net_producers  1     values    a member counts once in each value

`shared` is the energy that members took and gave in the same slot (the law of several countries pays for it under that name). What
was *traded* is not among them: one member's order moves the trades of others, by how much depends on the market's rule, and a
bound that is not proven protects nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from walras.errors import Fault, InputError
from walras.units import Int64


@dataclass(frozen=True, slots=True)
class Statistic:
    """One statistic: its name, what it says, its unit, and by how many caps (or members) one member moves a single value."""

    name: str
    what: str
    unit: str
    moved: int


STATISTICS = {
    one.name: one
    for one in (
        Statistic("consumption", "energy that members took from the grid or from neighbours", "Wh", 1),
        Statistic("feed_in", "energy that members gave", "Wh", 1),
        Statistic("shared", "energy that members took and gave in the same slot", "Wh", 2),
        Statistic("feeding_in", "members who gave any energy", "members", 1),
        Statistic("net_producers", "members who gave more than they took", "members", 1),
    )
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What meters measured: Wh >= 0 [slots, members]; `cell` [slots] says which of `cells` (their names) a slot counts in."""

    import_wh: Int64
    export_wh: Int64
    cell: Int64
    cells: tuple[str, ...]


def statistic_named(name: str) -> Statistic:
    """The statistic of that name; InputError names those there are."""
    if name not in STATISTICS:
        raise InputError("statistic", [Fault("statistic", "name", name, "one of " + ", ".join(STATISTICS))])
    return STATISTICS[name]


def clipped(energy_wh: Int64, cap_wh: int) -> Int64:
    """Energies [slots, members] with every member's sum brought down to `cap_wh` at most, in proportion, rounded down.

    >>> clipped(np.array([[30, 5], [90, 5]]), 60).tolist()
    [[15, 5], [45, 5]]
    """
    total = energy_wh.sum(axis=0)
    return np.asarray(np.where(total > cap_wh, energy_wh * cap_wh // np.maximum(total, 1), energy_wh), dtype=np.int64)


def sensitivity(statistic: Statistic, cells: int, cap_wh: int) -> int:
    """How far one member moves all `cells` values of a statistic together, at most: Wh, or members.

    >>> sensitivity(STATISTICS["consumption"], 1, 20_000), sensitivity(STATISTICS["shared"], 24, 20_000)
    (20000, 80000)
    """
    if statistic.unit == "members":
        return statistic.moved * cells
    return statistic.moved * cap_wh * (1 if cells == 1 else 2)


def exact_values(statistic: Statistic, measured: Measured, cap_wh: int) -> tuple[int, ...]:
    """The statistic without noise, a whole number a cell: not to be published."""
    taken, given = clipped(measured.import_wh, cap_wh), clipped(measured.export_wh, cap_wh)
    rows = [measured.cell == cell for cell in range(len(measured.cells))]
    match statistic.name:
        case "consumption":
            return tuple(int(taken[row].sum()) for row in rows)
        case "feed_in":
            return tuple(int(given[row].sum()) for row in rows)
        case "shared":
            both = np.minimum(taken.sum(axis=1), given.sum(axis=1))
            return tuple(int(both[row].sum()) for row in rows)
        case "feeding_in":
            return tuple(int((given[row].sum(axis=0) > 0).sum()) for row in rows)
        case _:
            return tuple(int((given[row].sum(axis=0) > taken[row].sum(axis=0)).sum()) for row in rows)
