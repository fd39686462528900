"""What stands behind a meter: batteries and vehicles as fleets of columns, what stored energy is worth, what is done with it.

Pure: (state, signal) -> (state, energy). Stored energy is exact in whole micro-watt-hours.
"""

from __future__ import annotations

from walras.devices.battery import BatteryFleet, fleet_from_records, step
from walras.devices.battery_control import fleet_alone, value_between
from walras.devices.battery_plan import ValueTable, default_terminal, plan_cost, plan_values
from walras.devices.records import Battery
from walras.devices.vehicle import (
    Sessions,
    join_fleets,
    join_values,
    plan_sessions,
    plug_in,
    sessions_from_series,
    vehicle_fleet,
)

__all__ = [
    "Battery",
    "BatteryFleet",
    "Sessions",
    "ValueTable",
    "default_terminal",
    "fleet_alone",
    "fleet_from_records",
    "join_fleets",
    "join_values",
    "plan_cost",
    "plan_sessions",
    "plan_values",
    "plug_in",
    "sessions_from_series",
    "step",
    "value_between",
    "vehicle_fleet",
]
