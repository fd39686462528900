"""A radial network as frozen arrays: what the power flow, the clearing and the limits all read.

The rule: a `Network` is a tree, its branches are ordered from the root outward (the branch that feeds a bus stands before
every branch that leaves it), and every number is per unit on one base, so that no later stage looks at topology or units again.

Base: 10 kVA three-phase (`BASE_KVA`) and the nominal line-to-line voltage of each bus. At 10 kVA household powers are of the
order of one, which keeps linear and conic solvers well scaled.

Branch model (one for lines and transformers): parent bus, ideal transformer of ratio `tap * exp(j shift)`, then a pi section

    V_parent / (tap e^{j shift}) ──┬── r + jx ──┬── V_child          half of g + jb at each end of the series impedance
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from walras.errors import Fault, GridError, InputError

Float = NDArray[np.float64]
Int = NDArray[np.int64]

BASE_KVA = 10.0
"""Three-phase base power of every per-unit number in a network."""

LINE = 0
TRANSFORMER = 1

_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Wires:
    """A network in the order of the sweep: place 0 is the root, place k + 1 the child of branch k.

    `order[k]` is the bus at place k, `place[bus]` the reverse; `parent[k]` is the place that feeds place k (-1 for the root).
    `data` [n, 8] by place (row 0 is unused): r, x, g/2, b/2, real and imaginary part of 1/tap, 1/limit, 1.0 for a line.
    """

    order: Int
    place: Int
    parent: Int
    data: Float
    slack_v_pu: float


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    """A tree of `n` buses and `n - 1` branches. Columns are read-only; build one with `walras.grid.build_network`.

    Buses:    `bus_names` (unique), `bus_kv` nominal line-to-line kV, `v_min_pu`/`v_max_pu` the allowed band, `bus_xy` [n, 2] a
              position for drawings (NaN where unknown).
    Root:     `root` is the bus index of the infinite bus that holds `slack_v_pu` at angle 0.
    Branches: `branch_from` is the parent (nearer the root) and `branch_to` the child bus index; `branch_kind` is LINE or
              TRANSFORMER; `branch_r`, `branch_x` series impedance and `branch_g`, `branch_b` total shunt admittance (capacitive
              positive) in pu; `branch_tap` and `branch_shift_rad` the ratio on the parent side; `branch_rating` in amperes for
              a line and kVA for a transformer (inf: none); `branch_length_km` (0 for a transformer).
    """

    bus_names: tuple[str, ...]
    bus_kv: Float
    v_min_pu: Float
    v_max_pu: Float
    bus_xy: Float
    root: int
    slack_v_pu: float
    branch_names: tuple[str, ...]
    branch_from: Int
    branch_to: Int
    branch_kind: Int
    branch_r: Float
    branch_x: Float
    branch_g: Float
    branch_b: Float
    branch_tap: Float
    branch_shift_rad: Float
    branch_rating: Float
    branch_length_km: Float

    def __post_init__(self) -> None:
        buses, branches = len(self.bus_names), len(self.branch_names)
        shapes: dict[str, tuple[int, ...]] = {
            name: (buses,) if name.startswith(("bus_", "v_")) else (branches,) for name in _ARRAY_FIELDS
        }
        shapes["bus_xy"] = (buses, 2)
        faults = []
        for name, shape in shapes.items():
            dtype = np.int64 if name in _INT_FIELDS else np.float64
            column = np.array(getattr(self, name), dtype=dtype)
            if column.shape != shape:
                faults.append(Fault("network", name, column.shape, f"shape {shape}"))
            elif dtype is np.float64 and name not in ("bus_xy", "branch_rating") and not np.isfinite(column).all():
                faults.append(Fault("network", name, "NaN or infinite", "finite numbers"))
            column.flags.writeable = False
            object.__setattr__(self, name, column)
        if buses == 0:
            faults.append(Fault("network", "bus_names", (), "at least one bus"))
        if not faults:
            faults = self._value_faults()
        if faults:
            raise InputError("network", faults)
        self._check_tree()

    def _value_faults(self) -> list[Fault]:
        faults = []
        if len(set(self.bus_names)) != self.buses:
            twice = sorted({name for name in self.bus_names if self.bus_names.count(name) > 1})
            faults.append(Fault("network", "bus_names", twice, "unique names"))
        if not 0 <= self.root < self.buses:
            faults.append(Fault("network", "root", self.root, f"a bus index below {self.buses}"))
        if not (np.isfinite(self.slack_v_pu) and self.slack_v_pu > 0):
            faults.append(Fault("network", "slack_v_pu", self.slack_v_pu, "a positive voltage"))
        for bus in np.flatnonzero((self.v_min_pu <= 0) | (self.v_min_pu >= self.v_max_pu)):
            band = (float(self.v_min_pu[bus]), float(self.v_max_pu[bus]))
            faults.append(Fault(f"bus {self.bus_names[bus]}", "voltage band", band, "0 < v_min_pu < v_max_pu"))
        for bus in np.flatnonzero(self.bus_kv <= 0):
            faults.append(Fault(f"bus {self.bus_names[bus]}", "bus_kv", float(self.bus_kv[bus]), "a positive nominal voltage"))
        for k in np.flatnonzero(~(self.branch_rating > 0)):
            rating = float(self.branch_rating[k])
            faults.append(Fault(f"branch {self.branch_names[k]}", "rating", rating, "a positive rating (inf for none)"))
        for k in np.flatnonzero(self.branch_tap <= 0):
            faults.append(Fault(f"branch {self.branch_names[k]}", "tap", float(self.branch_tap[k]), "a positive ratio"))
        for k in np.flatnonzero((self.branch_kind != LINE) & (self.branch_kind != TRANSFORMER)):
            faults.append(Fault(f"branch {self.branch_names[k]}", "kind", int(self.branch_kind[k]), "LINE or TRANSFORMER"))
        return faults

    def _check_tree(self) -> None:
        fed = np.zeros(self.buses, dtype=np.bool_)
        fed[self.root] = True
        for k, (parent, child) in enumerate(zip(self.branch_from.tolist(), self.branch_to.tolist(), strict=True)):
            if not (0 <= parent < self.buses and 0 <= child < self.buses) or not fed[parent] or fed[child]:
                name = self.branch_names[k]
                raise GridError(
                    f"branch {name}: not in root-outward order of a tree (its parent is not fed yet, or its child already is)",
                    thing=name,
                    way_out="build the network with walras.grid.build_network, which orders branches and finds loops",
                )
            fed[child] = True
        if not fed.all():
            dark = [self.bus_names[bus] for bus in np.flatnonzero(~fed)]
            raise GridError(f"{len(dark)} buses without supply: {', '.join(dark[:10])}", thing=dark)
        zero = np.flatnonzero(np.hypot(self.branch_r, self.branch_x) == 0)
        if zero.size:
            names = [self.branch_names[k] for k in zero]
            raise GridError(f"zero impedance: {', '.join(names[:10])}", thing=names, way_out="fuse the two buses into one")

    def __repr__(self) -> str:
        lines = int(np.sum(self.branch_kind == LINE))
        root = self.bus_names[self.root]
        return f"Network({self.buses} buses, {lines} lines, {self.branches - lines} transformers, root {root!r})"

    @property
    def buses(self) -> int:
        """Number of buses."""
        return len(self.bus_names)

    @property
    def branches(self) -> int:
        """Number of branches, always one less than buses."""
        return len(self.branch_names)

    @cached_property
    def bus_index(self) -> Mapping[str, int]:
        """Bus index by name."""
        return {name: index for index, name in enumerate(self.bus_names)}

    @cached_property
    def branch_index(self) -> Mapping[str, int]:
        """Branch index by name."""
        return {name: index for index, name in enumerate(self.branch_names)}

    @cached_property
    def branch_limit_pu(self) -> Float:
        """Rating of each branch in pu: of current magnitude for a line, of apparent power for a transformer."""
        kv = self.bus_kv[self.branch_from]
        kva = np.where(self.branch_kind == LINE, self.branch_rating * np.sqrt(3.0) * kv, self.branch_rating)
        limit = np.asarray(kva / BASE_KVA)
        limit.flags.writeable = False
        return limit

    @cached_property
    def wires(self) -> Wires:
        """The columns in the order of the sweep."""
        n = self.buses
        order = np.concatenate([np.array([self.root], dtype=np.int64), self.branch_to])
        place = np.empty(n, dtype=np.int64)
        place[order] = np.arange(n)
        parent = np.concatenate([np.array([-1], dtype=np.int64), place[self.branch_from]])
        inverse_tap = np.exp(-1j * self.branch_shift_rad) / self.branch_tap
        data = np.zeros((n, 8))
        data[1:, 0] = self.branch_r
        data[1:, 1] = self.branch_x
        data[1:, 2] = self.branch_g / 2
        data[1:, 3] = self.branch_b / 2
        data[1:, 4] = inverse_tap.real
        data[1:, 5] = inverse_tap.imag
        data[1:, 6] = 1 / self.branch_limit_pu
        data[1:, 7] = self.branch_kind == LINE
        return Wires(order, place, parent, data, self.slack_v_pu)

    def as_arrays(self) -> dict[str, NDArray[Any]]:
        """Plain arrays, ready for `numpy.savez` (no pickle); `from_arrays` gives the same network back."""
        arrays: dict[str, NDArray[Any]] = {name: np.asarray(getattr(self, name)) for name in _ARRAY_FIELDS}
        arrays["bus_names"] = np.array(self.bus_names, dtype=np.str_)
        arrays["branch_names"] = np.array(self.branch_names, dtype=np.str_)
        arrays["root"] = np.array(self.root, dtype=np.int64)
        arrays["slack_v_pu"] = np.array(self.slack_v_pu, dtype=np.float64)
        arrays["base_kva"] = np.array(BASE_KVA)
        arrays["format"] = np.array(_FORMAT, dtype=np.int64)
        return arrays

    @staticmethod
    def from_arrays(arrays: Mapping[str, NDArray[Any]]) -> Network:
        """The network that `as_arrays` wrote; keys that are not a network's are left alone.

        Raises InputError for missing columns, another base or another format, and what the constructor raises.
        """
        wanted = [field.name for field in fields(Network)]
        missing = [name for name in (*wanted, "base_kva", "format") if name not in arrays]
        faults = [Fault("network arrays", name, "missing", "a column") for name in missing]
        if not faults and int(arrays["format"]) != _FORMAT:
            faults.append(Fault("network arrays", "format", int(arrays["format"]), f"{_FORMAT}"))
        if not faults and float(arrays["base_kva"]) != BASE_KVA:
            faults.append(Fault("network arrays", "base_kva", float(arrays["base_kva"]), f"{BASE_KVA}"))
        if faults:
            raise InputError("network arrays", faults)
        values: dict[str, Any] = {name: arrays[name] for name in wanted}
        values["bus_names"] = tuple(str(name) for name in arrays["bus_names"])
        values["branch_names"] = tuple(str(name) for name in arrays["branch_names"])
        values["root"] = int(arrays["root"])
        values["slack_v_pu"] = float(arrays["slack_v_pu"])
        return Network(**values)


_INT_FIELDS = ("branch_from", "branch_to", "branch_kind")
_ARRAY_FIELDS = tuple(
    field.name for field in fields(Network) if field.name not in ("bus_names", "branch_names", "root", "slack_v_pu")
)
