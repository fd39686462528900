"""From a data sheet to a `Network`: lines and transformers in physical units become an ordered tree in per unit.

The rule: every fault is found and listed before anything is built. Field faults (unknown bus, negative rating, NaN) raise
`InputError`; a sound table that is not a radial network (island, loop, zero impedance) raises `GridError`; both list all.

Only closed branches belong in the tables: an open switch means leaving the branch out, a closed bus coupler means one bus.
Transformers are the pi equivalent used by power-grid-model and by pandapower with `trafo_model="pi"`: series impedance from
`vk_percent`/`vkr_percent`, shunt from `pfe_kw`/`i0_percent`, both at the low-voltage rated voltage after the tap.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from walras.errors import Fault, GridError, InputError
from walras.grid.network import BASE_KVA, LINE, TRANSFORMER, Float, Int, Network

BASE_MVA = BASE_KVA / 1e3


@dataclass(frozen=True, slots=True)
class Line:
    """A line or cable of `parallel` equal systems; `max_i_ka` is the rating of one system (inf: none)."""

    name: str
    from_bus: str
    to_bus: str
    length_km: float
    r_ohm_per_km: float
    x_ohm_per_km: float
    c_nf_per_km: float = 0.0
    max_i_ka: float = math.inf
    parallel: int = 1
    g_us_per_km: float = 0.0


@dataclass(frozen=True, slots=True)
class Transformer:
    """A two-winding transformer of `parallel` equal units.

    A tap of `tap_pos - tap_neutral` steps raises the rated voltage of its `tap_side` by `tap_step_percent` each: on the
    high-voltage side a higher position lowers the voltage on the low-voltage side. `shift_degree`: how far the latter lags.
    """

    name: str
    hv_bus: str
    lv_bus: str
    sn_kva: float
    hv_kv: float
    lv_kv: float
    vk_percent: float
    vkr_percent: float
    pfe_kw: float = 0.0
    i0_percent: float = 0.0
    tap_pos: float = 0.0
    tap_neutral: float = 0.0
    tap_step_percent: float = 0.0
    tap_side: Literal["hv", "lv"] = "hv"
    shift_degree: float = 0.0
    parallel: int = 1


@dataclass(frozen=True, slots=True)
class _Edge:
    """One branch in per unit; `ratio` and `y_shunt` as seen with the ideal transformer at bus `a`."""

    name: str
    a: int
    b: int
    kind: int
    z: complex
    y_shunt: complex
    ratio: complex
    rating: float
    length_km: float

    def seen_from(self, parent: int) -> _Edge:
        """The same two-port with the ideal transformer at `parent`.

        Moving a ratio t through the pi section to the other end gives ratio 1/t, impedance times |t|^2, shunt over |t|^2.
        """
        if parent == self.a:
            return self
        square = abs(self.ratio) ** 2
        z, y_shunt, ratio = self.z * square, self.y_shunt / square, 1 / self.ratio
        return _Edge(self.name, self.b, self.a, self.kind, z, y_shunt, ratio, self.rating, self.length_km)


def build_network(
    buses: Mapping[str, float],
    lines: Sequence[Line] = (),
    transformers: Sequence[Transformer] = (),
    *,
    root: str,
    slack_v_pu: float = 1.0,
    v_min_pu: float | Mapping[str, float] = 0.9,
    v_max_pu: float | Mapping[str, float] = 1.1,
    positions: Mapping[str, tuple[float, float]] | None = None,
    frequency_hz: float = 50.0,
) -> Network:
    """A `Network` from closed branches in physical units. `buses` maps name to nominal kV and gives the order of the buses.

    `v_min_pu` and `v_max_pu` are one number for all buses or a mapping by bus (0.9 and 1.1 where it is silent). Parallel
    branches between the same two buses are merged: admittances add, and the rating is the total at which the first of them
    reaches its own. Raises InputError (all field faults) or GridError (all islands, loops, zero impedances).

    >>> net = build_network({"mv": 20.0, "lv": 0.4, "home": 0.4},
    ...     [Line("cable", "lv", "home", 0.2, 0.206, 0.08, max_i_ka=0.27)],
    ...     [Transformer("t", "mv", "lv", 160.0, 20.0, 0.4, 4.0, 1.46)], root="mv")
    >>> net.branch_names, [round(float(limit), 3) for limit in net.branch_limit_pu]
    (('t', 'cable'), [16.0, 18.706])
    """
    faults = _field_faults(buses, lines, transformers, root)
    if faults:
        raise InputError("network tables", faults)
    index = {name: i for i, name in enumerate(buses)}
    kv = np.array([float(value) for value in buses.values()])
    ordered = _tree(lines, transformers, index, kv, index[root], frequency_hz)
    xy = np.full((len(index), 2), np.nan)
    for name, position in (positions or {}).items():
        if name in index:
            xy[index[name]] = position
    return Network(
        bus_names=tuple(buses),
        bus_kv=kv,
        v_min_pu=_per_bus(v_min_pu, buses, 0.9),
        v_max_pu=_per_bus(v_max_pu, buses, 1.1),
        bus_xy=xy,
        root=index[root],
        slack_v_pu=float(slack_v_pu),
        branch_names=tuple(edge.name for edge in ordered),
        branch_from=_whole(edge.a for edge in ordered),
        branch_to=_whole(edge.b for edge in ordered),
        branch_kind=_whole(edge.kind for edge in ordered),
        branch_r=_real(edge.z.real for edge in ordered),
        branch_x=_real(edge.z.imag for edge in ordered),
        branch_g=_real(edge.y_shunt.real for edge in ordered),
        branch_b=_real(edge.y_shunt.imag for edge in ordered),
        branch_tap=_real(abs(edge.ratio) for edge in ordered),
        branch_shift_rad=_real(math.atan2(edge.ratio.imag, edge.ratio.real) for edge in ordered),
        branch_rating=_real(edge.rating for edge in ordered),
        branch_length_km=_real(edge.length_km for edge in ordered),
    )


def _tree(
    lines: Sequence[Line], transformers: Sequence[Transformer], index: Mapping[str, int], kv: Float, root: int, frequency_hz: float
) -> list[_Edge]:
    """The branches from the root outward; raises GridError with all that keeps them from being a tree."""
    branches: list[Line | Transformer] = [*lines, *transformers]
    zero = [branch.name for branch in branches if _is_zero(branch)]
    edges = [_line_edge(line, index, kv, frequency_hz) for line in lines if not _is_zero(line)]
    edges += [_transformer_edge(trafo, index, kv) for trafo in transformers if not _is_zero(trafo)]
    problems = [f"zero impedance: {name} (fuse its two buses into one)" for name in zero]
    merged, merge_problems = _merge_parallel(edges)
    ordered, tree_problems = _order_outward(merged, list(index), root, bool(zero))
    problems += merge_problems + tree_problems
    if problems:
        raise GridError(
            "not a radial network:\n" + "\n".join(f"  {problem}" for problem in problems),
            thing=tuple(problems),
            way_out="open a switch in each loop, leave out or connect the islands, fuse buses joined by zero impedance",
        )
    return ordered


def _whole(values: Iterable[int]) -> Int:
    return np.array(list(values), dtype=np.int64)


def _real(values: Iterable[float]) -> Float:
    return np.array(list(values), dtype=np.float64)


def _per_bus(value: float | Mapping[str, float], buses: Mapping[str, float], default: float) -> Float:
    if isinstance(value, Mapping):
        return np.array([float(value.get(name, default)) for name in buses])
    return np.full(len(buses), float(value))


_MAY_BE_NEGATIVE = ("tap_pos", "tap_neutral", "tap_step_percent", "shift_degree")
_MUST_BE_POSITIVE = ("max_i_ka", "parallel", "sn_kva", "hv_kv", "lv_kv")


def _field_faults(buses: Mapping[str, float], lines: Sequence[Line], transformers: Sequence[Transformer], root: str) -> list[Fault]:
    faults = []
    if not buses:
        faults.append(Fault("buses", "buses", {}, "at least one bus"))
    for name, kv in buses.items():
        if not (math.isfinite(kv) and kv > 0):
            faults.append(Fault(f"bus {name}", "kv", kv, "a positive nominal voltage"))
    if buses and root not in buses:
        faults.append(Fault("network", "root", root, "the name of a bus"))
    seen: set[str] = set()
    branches: list[Line | Transformer] = [*lines, *transformers]
    for branch in branches:
        where = f"{'line' if isinstance(branch, Line) else 'transformer'} {branch.name}"
        ends = ("from_bus", "to_bus") if isinstance(branch, Line) else ("hv_bus", "lv_bus")
        if branch.name in seen:
            faults.append(Fault(where, "name", branch.name, "a name that no other branch has"))
        seen.add(branch.name)
        for end in ends:
            if getattr(branch, end) not in buses:
                faults.append(Fault(where, end, getattr(branch, end), "the name of a bus"))
        if getattr(branch, ends[0]) == getattr(branch, ends[1]):
            faults.append(Fault(where, ends[1], getattr(branch, ends[1]), "another bus than its first end"))
        faults += _number_faults(branch, where)
        if isinstance(branch, Line):
            first, second = buses.get(branch.from_bus), buses.get(branch.to_bus)
            if first is not None and second is not None and first != second:
                faults.append(Fault(where, "nominal kV", (first, second), "the same at both ends (else it is a transformer)"))
        else:
            if branch.tap_side not in ("hv", "lv"):
                faults.append(Fault(where, "tap_side", branch.tap_side, "'hv' or 'lv'"))
            if branch.vkr_percent > branch.vk_percent:
                faults.append(Fault(where, "vkr_percent", branch.vkr_percent, f"at most vk_percent = {branch.vk_percent}"))
            steps = 1 + (branch.tap_pos - branch.tap_neutral) * branch.tap_step_percent / 100
            if steps <= 0:
                faults.append(Fault(where, "tap", steps, "a tap that leaves a positive rated voltage"))
    return faults


def _number_faults(branch: Line | Transformer, where: str) -> list[Fault]:
    faults = []
    for field in fields(branch):
        value = getattr(branch, field.name)
        if isinstance(value, str):
            continue
        unlimited = field.name == "max_i_ka" and value == math.inf
        if not (math.isfinite(value) or unlimited):
            faults.append(Fault(where, field.name, value, "a finite number"))
        elif field.name in _MUST_BE_POSITIVE and not value > 0:
            faults.append(Fault(where, field.name, value, "a positive number"))
        elif field.name not in _MAY_BE_NEGATIVE and value < 0:
            faults.append(Fault(where, field.name, value, "zero or more"))
    return faults


def _is_zero(branch: Line | Transformer) -> bool:
    if isinstance(branch, Transformer):
        return branch.vk_percent == 0
    return branch.length_km == 0 or (branch.r_ohm_per_km == 0 and branch.x_ohm_per_km == 0)


def _line_edge(line: Line, index: Mapping[str, int], kv: Float, frequency_hz: float) -> _Edge:
    a, b = index[line.from_bus], index[line.to_bus]
    z_base = kv[a] ** 2 / BASE_MVA
    z = complex(line.r_ohm_per_km, line.x_ohm_per_km) * line.length_km / line.parallel / z_base
    siemens_per_km = complex(line.g_us_per_km * 1e-6, 2 * math.pi * frequency_hz * line.c_nf_per_km * 1e-9)
    y = siemens_per_km * line.length_km * line.parallel * z_base
    return _Edge(line.name, a, b, LINE, z, y, 1 + 0j, line.max_i_ka * 1e3 * line.parallel, line.length_km)


def _transformer_edge(t: Transformer, index: Mapping[str, int], kv: Float) -> _Edge:
    hv, lv = index[t.hv_bus], index[t.lv_bus]
    factor = 1 + (t.tap_pos - t.tap_neutral) * t.tap_step_percent / 100
    hv_kv = t.hv_kv * (factor if t.tap_side == "hv" else 1.0)
    lv_kv = t.lv_kv * (factor if t.tap_side == "lv" else 1.0)
    sn_mva = t.sn_kva * t.parallel / 1e3
    lv_square = (lv_kv / kv[lv]) ** 2
    vkx = math.sqrt(t.vk_percent**2 - t.vkr_percent**2)
    z = complex(t.vkr_percent, vkx) / 100 * BASE_MVA / sn_mva * lv_square
    pfe_mw = t.pfe_kw * t.parallel / 1e3
    magnetising = math.sqrt(max((t.i0_percent / 100 * sn_mva) ** 2 - pfe_mw**2, 0.0))
    y = complex(pfe_mw, -magnetising) / BASE_MVA / lv_square
    size = (hv_kv / lv_kv) / (kv[hv] / kv[lv])
    angle = math.radians(t.shift_degree)
    ratio = complex(size * math.cos(angle), size * math.sin(angle))
    return _Edge(t.name, hv, lv, TRANSFORMER, z, y, ratio, t.sn_kva * t.parallel, 0.0)


def _merge_parallel(edges: Sequence[_Edge]) -> tuple[list[_Edge], list[str]]:
    """One edge for each pair of buses. Parallel branches share current in proportion to their series admittance."""
    groups: dict[tuple[int, int], list[_Edge]] = {}
    for edge in edges:
        groups.setdefault((min(edge.a, edge.b), max(edge.a, edge.b)), []).append(edge)
    merged, problems = [], []
    for group in groups.values():
        first = group[0]
        same = [edge.seen_from(first.a) for edge in group]
        if any(e.kind != first.kind or abs(e.ratio - first.ratio) > 1e-12 for e in same):
            names = ", ".join(e.name for e in same)
            problems.append(f"parallel branches of unequal kind, tap or shift circulate current: {names}")
        y_series = sum((1 / e.z for e in same), 0j)
        rating = min(e.rating * abs(y_series * e.z) for e in same)
        merged.append(
            first
            if len(same) == 1
            else _Edge(
                "+".join(e.name for e in same), first.a, first.b, first.kind, 1 / y_series,
                sum((e.y_shunt for e in same), 0j), first.ratio, rating, max(e.length_km for e in same),
            )
        )  # fmt: skip
    return merged, problems


def _order_outward(edges: Sequence[_Edge], names: Sequence[str], root: int, zero: bool) -> tuple[list[_Edge], list[str]]:
    """Depth-first from the root, neighbours in the order of the input; each edge turned so that its parent comes first."""
    at: dict[int, list[int]] = {}
    for k, edge in enumerate(edges):
        at.setdefault(edge.a, []).append(k)
        at.setdefault(edge.b, []).append(k)
    fed, used, ordered, loops = {root}, set(), [], []
    stack = [(root, k) for k in reversed(at.get(root, []))]
    while stack:
        parent, k = stack.pop()
        if k in used:
            continue
        used.add(k)
        edge = edges[k].seen_from(parent)
        if edge.b in fed:
            loops.append(f"loop: closed by {edge.name} between {names[edge.a]} and {names[edge.b]}")
            continue
        fed.add(edge.b)
        ordered.append(edge)
        stack += [(edge.b, other) for other in reversed(at[edge.b]) if other not in used]
    dark = [name for bus, name in enumerate(names) if bus not in fed]
    if dark and not zero:  # behind a zero impedance everything looks dark: that fault is already named
        more = f" and {len(dark) - 10} more" if len(dark) > 10 else ""
        loops.append(f"island: no closed path from {names[root]} to {', '.join(dark[:10])}{more}")
    return ordered, loops
