"""What stands behind a meter: batteries as fleets of columns, what stored energy is worth, and what a battery does with it.

Pure: (state, signal) -> (state, energy). Stored energy is exact in whole micro-watt-hours.
"""

from __future__ import annotations

from walras.devices.battery import BatteryFleet, fleet_from_records, step
from walras.devices.battery_control import fleet_alone, value_between
from walras.devices.battery_plan import ValueTable, default_terminal, plan_cost, plan_values
from walras.devices.records import Battery

__all__ = [
    "Battery",
    "BatteryFleet",
    "ValueTable",
    "default_terminal",
    "fleet_alone",
    "fleet_from_records",
    "plan_cost",
    "plan_values",
    "step",
    "value_between",
]
