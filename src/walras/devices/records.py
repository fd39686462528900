"""What stands behind a meter, as records. Sizes are whole watts and watt-hours; efficiencies are physical, so float64."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Battery:
    """A battery at its AC terminals.

    `capacity_wh` is usable energy inside, `power_w` the largest AC power either way. Taking e Wh from the bus stores
    e * `charge_efficiency`; giving e Wh to the bus draws e / `discharge_efficiency`. Both are in (0, 1].
    `initial_wh` is inside at the start.
    """

    capacity_wh: int
    power_w: int
    charge_efficiency: float
    discharge_efficiency: float
    initial_wh: int = 0
