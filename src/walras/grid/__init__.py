"""The wires: radial networks, AC power flow, what the limits are and what they are worth."""

from __future__ import annotations

from walras.grid.feeder import FeederSlot, add_supplier
from walras.grid.flow import Flow, power_flow
from walras.grid.limits import KIND_NAMES, Violations, find_violations
from walras.grid.network import BASE_KVA, LINE, TRANSFORMER, Network
from walras.grid.nodal import NODAL
from walras.grid.nodal_check import check_nodal
from walras.grid.optimum import Dispatch, dispatch
from walras.grid.physical import Line, Transformer, build_network
from walras.grid.rows import LIMIT_NAMES
from walras.grid.sensitivity import Sensitivities, sensitivities

__all__ = [
    "BASE_KVA",
    "KIND_NAMES",
    "LIMIT_NAMES",
    "LINE",
    "NODAL",
    "TRANSFORMER",
    "Dispatch",
    "FeederSlot",
    "Flow",
    "Line",
    "Network",
    "Sensitivities",
    "Transformer",
    "Violations",
    "add_supplier",
    "build_network",
    "check_nodal",
    "dispatch",
    "find_violations",
    "power_flow",
    "sensitivities",
]
