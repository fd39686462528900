"""The wires: radial networks, AC power flow, what the limits are and what they are worth."""

from __future__ import annotations

from walras.grid.flow import Flow, power_flow
from walras.grid.limits import KIND_NAMES, Violations, find_violations
from walras.grid.network import BASE_KVA, LINE, TRANSFORMER, Network
from walras.grid.physical import Line, Transformer, build_network

__all__ = [
    "BASE_KVA",
    "KIND_NAMES",
    "LINE",
    "TRANSFORMER",
    "Flow",
    "Line",
    "Network",
    "Transformer",
    "Violations",
    "build_network",
    "find_violations",
    "power_flow",
]
