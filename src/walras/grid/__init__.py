"""The wires: radial networks, AC power flow, what the limits are and what they are worth."""

from __future__ import annotations

from walras.grid.network import BASE_KVA, LINE, TRANSFORMER, Network
from walras.grid.physical import Line, Transformer, build_network

__all__ = ["BASE_KVA", "LINE", "TRANSFORMER", "Line", "Network", "Transformer", "build_network"]
