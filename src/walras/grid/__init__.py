"""The wires: radial networks, AC power flow, what the limits are and what they are worth."""

from __future__ import annotations

from walras.grid.congestion import Curtailment, Redispatch, curtail, redispatch
from walras.grid.conic import ConicOptimum, dispatch_conic
from walras.grid.coupled import DayPlan, plan_day, with_schedule
from walras.grid.envelopes import Envelopes, operating_envelopes
from walras.grid.feeder import FeederSlot, add_supplier
from walras.grid.flow import Flow, power_flow
from walras.grid.limits import KIND_NAMES, Violations, find_violations
from walras.grid.network import BASE_KVA, LINE, TRANSFORMER, Network
from walras.grid.network_blocks import BlockDay, clear_blocks
from walras.grid.nodal import NODAL
from walras.grid.nodal_check import check_nodal
from walras.grid.optimum import Dispatch, dispatch
from walras.grid.physical import Line, Transformer, build_network
from walras.grid.picture import describe_network, network_figure
from walras.grid.requirements import Requirements
from walras.grid.rows import LIMIT_NAMES
from walras.grid.sensitivity import Sensitivities, sensitivities
from walras.grid.shadow import LimitWorth, limit_worths
from walras.grid.stores import Stores, battery_stores, join_stores, session_stores

__all__ = [
    "BASE_KVA",
    "KIND_NAMES",
    "LIMIT_NAMES",
    "LINE",
    "NODAL",
    "TRANSFORMER",
    "BlockDay",
    "ConicOptimum",
    "Curtailment",
    "DayPlan",
    "Dispatch",
    "Envelopes",
    "FeederSlot",
    "Flow",
    "LimitWorth",
    "Line",
    "Network",
    "Redispatch",
    "Requirements",
    "Sensitivities",
    "Stores",
    "Transformer",
    "Violations",
    "add_supplier",
    "battery_stores",
    "build_network",
    "check_nodal",
    "clear_blocks",
    "curtail",
    "describe_network",
    "dispatch",
    "dispatch_conic",
    "find_violations",
    "join_stores",
    "limit_worths",
    "network_figure",
    "operating_envelopes",
    "plan_day",
    "power_flow",
    "redispatch",
    "sensitivities",
    "session_stores",
    "with_schedule",
]
