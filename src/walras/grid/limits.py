"""Which limits a power flow breaks, where, when and by how much: one row a violation.

The rule: a limit is broken only beyond its tolerance (by default 0.01 % of a rating, 1e-6 pu of voltage), so that a flow that
sits exactly on a limit, as a good clearing does, is not called broken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from walras.grid.flow import Flow
from walras.grid.network import LINE, Float, Int, Network

LINE_OVERLOAD = 0
TRANSFORMER_OVERLOAD = 1
UNDERVOLTAGE = 2
OVERVOLTAGE = 3

KIND_NAMES = ("line overload", "transformer overload", "undervoltage", "overvoltage")

LOADING_TOLERANCE = 1e-4
VOLTAGE_TOLERANCE_PU = 1e-6


@dataclass(frozen=True, eq=False)
class Violations:
    """Broken limits, one row each, ordered by slot, then kind, then index.

    `slot`; `kind` (index of KIND_NAMES); `index` of the branch (overloads) or of the bus (voltages); `value` and `limit` as a
    fraction of the rating or in pu of voltage; `excess` >= 0 is how far beyond the limit, in the same unit.
    """

    slot: Int
    kind: Int
    index: Int
    value: Float
    limit: Float
    excess: Float

    def __len__(self) -> int:
        return int(self.slot.size)

    def describe(self, network: Network, row: int) -> str:
        """One violation in words."""
        kind, index = int(self.kind[row]), int(self.index[row])
        if kind in (LINE_OVERLOAD, TRANSFORMER_OVERLOAD):
            unit = "A" if network.branch_kind[index] == LINE else "kVA"
            rating = network.branch_rating[index]
            thing = f"{network.branch_names[index]} at {100 * self.value[row]:.1f} % of {rating:.0f} {unit}"
        else:
            thing = f"bus {network.bus_names[index]} at {self.value[row]:.4f} pu, limit {self.limit[row]:.4f} pu"
        return f"slot {self.slot[row]}: {KIND_NAMES[kind]}: {thing}"


def find_violations(
    network: Network,
    flow: Flow,
    *,
    loading_tolerance: float = LOADING_TOLERANCE,
    voltage_tolerance_pu: float = VOLTAGE_TOLERANCE_PU,
) -> Violations:
    """Every limit that `flow` breaks by more than the tolerance. The root bus is held by the grid above and not judged.

    >>> from walras.grid import Line, build_network, power_flow
    >>> net = build_network({"a": 0.4, "b": 0.4}, [Line("ab", "a", "b", 1.0, 0.16, 0.0, max_i_ka=0.02)], root="a")
    >>> found = find_violations(net, power_flow(net, [[0.0, 10.0], [0.0, 20.0]]))
    >>> [found.describe(net, row) for row in range(len(found))]
    ['slot 1: line overload: ab at 147.3 % of 20 A']
    """
    judged = np.arange(network.buses) != network.root
    line = network.branch_kind == LINE
    over = flow.loading > 1 + loading_tolerance
    low = judged & (flow.v_pu < network.v_min_pu - voltage_tolerance_pu)
    high = judged & (flow.v_pu > network.v_max_pu + voltage_tolerance_pu)
    full = np.ones(network.branches)
    parts = [
        _rows(LINE_OVERLOAD, over & line, flow.loading, full),
        _rows(TRANSFORMER_OVERLOAD, over & ~line, flow.loading, full),
        _rows(UNDERVOLTAGE, low, flow.v_pu, network.v_min_pu),
        _rows(OVERVOLTAGE, high, flow.v_pu, network.v_max_pu),
    ]
    slot, kind, index = (np.concatenate([part[i] for part in parts]) for i in range(3))
    value, limit = (np.concatenate([part[i] for part in parts]) for i in (3, 4))
    order = np.lexsort((index, kind, slot))
    return Violations(slot[order], kind[order], index[order], value[order], limit[order], np.abs(value - limit)[order])


def _rows(kind: int, where: NDArray[np.bool_], values: Float, limits: Float) -> tuple[Int, Int, Int, Float, Float]:
    slot, index = np.nonzero(where)
    return slot, np.full(slot.size, kind, dtype=np.int64), index, values[slot, index], limits[index]
