"""Limits as linear rows: value, bound and exact AC gradient of each limit that matters at an operating point.

The rule: a limit enters the problem only once a flow breaks it (the worst few of each kind at a time, of neighbours one), and from
then on its row is linearised afresh at every new point. `LIMIT_NAMES` are the kinds; from import on they are plain sums of
orders (`requirements.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numba import njit

from walras.grid.network import BASE_KVA, LINE, Float, Int, Network
from walras.grid.sensitivity import Complex, adjoint, loading_gradient, voltage_gradient
from walras.grid.sweep import branch_loading

LINE_LIMIT = 0
TRANSFORMER_LIMIT = 1
LOW_VOLTAGE = 2
HIGH_VOLTAGE = 3
IMPORT_LIMIT = 4
EXPORT_LIMIT = 5

EMISSIONS_CAP = 6
RESERVE_UP = 7
RESERVE_DOWN = 8

LIMIT_NAMES = (
    "line",
    "transformer",
    "low voltage",
    "high voltage",
    "import",
    "export",
    "emissions",
    "reserve up",
    "reserve down",
)

PER_KIND = 8
"""How many limits of a kind enter at a time."""


@dataclass(slots=True)
class LimitRows:
    """The limits in play, in the order they entered. `place` is a place in the sweep (0 for sums of orders).

    A limit is kept with its `margin` (unit of the limit) in hand.
    """

    kind: list[int] = field(default_factory=list)
    place: list[int] = field(default_factory=list)
    margin: list[float] = field(default_factory=list)

    def columns(self) -> tuple[Int, Int]:
        """Kind and place as columns."""
        return np.array(self.kind, dtype=np.int64), np.array(self.place, dtype=np.int64)

    def enter(self, kinds: Int, places: Int) -> int:
        """Add limits that are not in yet; how many were added."""
        known = set(zip(self.kind, self.place, strict=True))
        fresh = [(int(k), int(p)) for k, p in zip(kinds, places, strict=True) if (int(k), int(p)) not in known]
        for kind, place in fresh:
            self.kind.append(kind)
            self.place.append(place)
            self.margin.append(0.0)
        return len(fresh)

    def keep(self, kind: int, place: int, more: float) -> None:
        """Keep `more` distance to a limit that is in."""
        row = next(i for i, key in enumerate(zip(self.kind, self.place, strict=True)) if key == (kind, place))
        self.margin[row] += more


def limit_bounds(network: Network) -> tuple[Float, Float]:
    """Lowest and highest voltage by place."""
    order = network.wires.order
    return np.ascontiguousarray(network.v_min_pu[order]), np.ascontiguousarray(network.v_max_pu[order])


@njit(cache=True)
def worst_limits(
    parent: Int, data: Float, vr: Float, vi: Float, state: Float, v_min: Float, v_max: Float, known_kind: Int, known_place: Int,
    tolerance: float,
) -> tuple[Int, Int, Float]:  # fmt: skip
    """Kind, place and excess of the worst broken limits that are not known, at most PER_KIND of each kind, worst first.

    Of neighbours only the worst comes: along a cable one limit mostly stands for all. Where no such peak is left, any comes.
    """
    n = parent.size
    excess = np.full((4, n), -np.inf)
    for k in range(1, n):
        v = np.hypot(vr[k], vi[k])
        kind = LINE_LIMIT if data[k, 7] != 0.0 else TRANSFORMER_LIMIT
        excess[kind, k] = branch_loading(parent, data, vr, vi, state, k) - 1.0
        excess[LOW_VOLTAGE, k] = v_min[k] - v
        excess[HIGH_VOLTAGE, k] = v - v_max[k]
    peaks = np.full((4, n), -np.inf)
    for kind in range(4):
        _keep_peaks(parent, excess[kind], tolerance, peaks[kind])
    for row in range(known_kind.size):
        if known_kind[row] < 4:
            excess[known_kind[row], known_place[row]] = -np.inf
            peaks[known_kind[row], known_place[row]] = -np.inf
    kinds, places = np.empty(4 * PER_KIND, dtype=np.int64), np.empty(4 * PER_KIND, dtype=np.int64)
    amounts = np.empty(4 * PER_KIND)
    count = 0
    for kind in range(4):
        from_peaks = peaks[kind].max() > tolerance
        for _ in range(min(PER_KIND, n)):
            left = peaks[kind] if from_peaks else excess[kind]
            k = int(np.argmax(left))
            if left[k] <= tolerance:
                break
            kinds[count], places[count], amounts[count] = kind, k, left[k]
            left[k] = -np.inf
            count += 1
    return kinds[:count], places[:count], amounts[:count]


@njit(cache=True)
def _keep_peaks(parent: Int, excess: Float, tolerance: float, peaks: Float) -> None:
    """`peaks` [n]: the excess of those places that exceed it more than their neighbours do, -inf elsewhere."""
    for k in range(1, excess.size):
        if excess[k] > tolerance:
            peaks[k] = excess[k]
    for k in range(1, excess.size):
        up = parent[k]
        if up > 0 and excess[k] > tolerance:
            if excess[k] > excess[up]:
                peaks[up] = -np.inf
            else:
                peaks[k] = -np.inf


@njit(cache=True)
def linearise(
    parent: Int, data: Float, p: Float, vr: Float, vi: Float, state: Float, factor: Complex, v_min: Float, v_max: Float,
    kind: Int, place: Int, gradient: Float, slackness: Float,
) -> None:  # fmt: skip
    """For each limit: `gradient` [limits, n] to the power taken at each place (per kW) and `slackness` = bound - value.

    Both are turned so that the limit reads gradient . dp <= slackness. Rows of sums are not touched here.
    """
    n = parent.size
    c, dq = np.zeros(n, dtype=np.complex128), np.empty(n)
    for row in range(kind.size):
        k = place[row]
        sign = 1.0
        if kind[row] <= TRANSFORMER_LIMIT:
            loading_gradient(parent, data, vr, vi, k, c)
            slackness[row] = 1.0 - branch_loading(parent, data, vr, vi, state, k)
        elif kind[row] <= HIGH_VOLTAGE:
            voltage_gradient(vr, vi, k, c)
            v = np.hypot(vr[k], vi[k])
            sign = -1.0 if kind[row] == LOW_VOLTAGE else 1.0
            slackness[row] = v - v_min[k] if kind[row] == LOW_VOLTAGE else v_max[k] - v
        else:
            continue
        adjoint(parent, factor, vr, vi, c, gradient[row], dq)
        for i in range(n):
            gradient[row, i] *= sign / BASE_KVA


def limit_name(network: Network, kind: int, place: int) -> str:
    """The limit in words."""
    if kind <= TRANSFORMER_LIMIT:
        return f"{LIMIT_NAMES[kind]} {network.branch_names[place - 1]}"
    if kind <= HIGH_VOLTAGE:
        return f"{LIMIT_NAMES[kind]} at {network.bus_names[int(network.wires.order[place])]}"
    return f"{LIMIT_NAMES[kind]} limit"


def limit_unit(network: Network, kind: int, place: int) -> float:
    """What one published unit of the limit is in its own unit: 1 kVA of a branch, 0.01 pu of voltage, 1 kW of exchange or
    reserve, 1 kg of carbon an hour.
    """
    if kind <= TRANSFORMER_LIMIT:
        branch = place - 1
        rating = float(network.branch_rating[branch])
        if network.branch_kind[branch] == LINE:
            rating *= float(np.sqrt(3.0) * network.bus_kv[network.branch_to[branch]])
        return 1.0 / rating
    return 0.01 if kind <= HIGH_VOLTAGE else 1.0
