"""The wires: radial networks, AC power flow, what the limits are and what they are worth."""

from __future__ import annotations

from walras.grid.charges import LossCharges, excess_charges, loss_charges, peak_charges, subscribed_charges
from walras.grid.congestion import CurtailedEnergy, Curtailment, Redispatch, curtail, pay_curtailment, redispatch
from walras.grid.conic import ConicOptimum, dispatch_conic
from walras.grid.coupled import DayPlan, plan_day, with_schedule
from walras.grid.droop import IEEE_1547_A, IEEE_1547_B, PRESET_EN, Droop, DroopFlow, Inverters, flow_with_droop, narrowed
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
from walras.grid.relief import delivered_relief, relief_prices, relief_rewards
from walras.grid.rent import RentDisposal, congestion_rent, dispose_of_rent, scarcity_price
from walras.grid.requirements import Requirements
from walras.grid.rights import Rights, RightsSettlement, make_rights, settle_rights, simultaneously_feasible
from walras.grid.rows import LIMIT_NAMES
from walras.grid.sensitivity import Sensitivities, sensitivities
from walras.grid.shadow import LimitWorth, limit_worths
from walras.grid.stores import Stores, battery_stores, join_stores, session_stores
from walras.grid.vcg import NODAL_VCG

__all__ = [
    "BASE_KVA",
    "IEEE_1547_A",
    "IEEE_1547_B",
    "KIND_NAMES",
    "LIMIT_NAMES",
    "LINE",
    "NODAL",
    "NODAL_VCG",
    "PRESET_EN",
    "TRANSFORMER",
    "BlockDay",
    "ConicOptimum",
    "CurtailedEnergy",
    "Curtailment",
    "DayPlan",
    "Dispatch",
    "Droop",
    "DroopFlow",
    "Envelopes",
    "FeederSlot",
    "Flow",
    "Inverters",
    "LimitWorth",
    "Line",
    "LossCharges",
    "Network",
    "Redispatch",
    "RentDisposal",
    "Requirements",
    "Rights",
    "RightsSettlement",
    "Sensitivities",
    "Stores",
    "Transformer",
    "Violations",
    "add_supplier",
    "battery_stores",
    "build_network",
    "check_nodal",
    "clear_blocks",
    "congestion_rent",
    "curtail",
    "delivered_relief",
    "describe_network",
    "dispatch",
    "dispatch_conic",
    "dispose_of_rent",
    "excess_charges",
    "find_violations",
    "flow_with_droop",
    "join_stores",
    "limit_worths",
    "loss_charges",
    "make_rights",
    "narrowed",
    "network_figure",
    "operating_envelopes",
    "pay_curtailment",
    "peak_charges",
    "plan_day",
    "power_flow",
    "redispatch",
    "relief_prices",
    "relief_rewards",
    "scarcity_price",
    "sensitivities",
    "session_stores",
    "settle_rights",
    "simultaneously_feasible",
    "subscribed_charges",
    "with_schedule",
]
