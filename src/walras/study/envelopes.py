"""Operating envelopes of a community's days: for each slot and member, how much it may take and feed in so that any use is safe.

The rule: a member may at most use its connection, taken to be what stands behind its meter (loads at their peaks and the
battery's power to take; plants at their peaks and the battery's power to feed in), or its subscription where it has one and takes.
What nobody chooses is the reactive power of the slot. Within that the envelopes are `grid.operating_envelopes`, judged corner by
corner in an AC power flow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from walras.community import Community
from walras.community.series import check_slots, member_bus, member_series, network
from walras.exchange.network_charges import reactive_at
from walras.grid import FeederSlot, operating_envelopes
from walras.grid.envelopes import Fairness
from walras.units import Float64


@dataclass(frozen=True, eq=False)
class DayEnvelopes:
    """`import_kw`, `export_kw` [slots, members] of `slots`; `import_cap_kw`, `export_cap_kw` [members] the connections."""

    slots: range
    import_cap_kw: Float64
    export_cap_kw: Float64
    import_kw: Float64
    export_kw: Float64


def connections(community: Community) -> tuple[Float64, Float64]:
    """[members] kW that each can take and feed in at most."""
    taken, fed = [], []
    for member in community.members:
        power = 0 if member.battery is None else member.battery.power_w
        taken.append(member.subscribed_w or sum(load.peak_w for load in member.loads) + power)
        fed.append(sum(plant.peak_w for plant in member.pv) + power)
    return np.array(taken, dtype=np.float64) / 1e3, np.array(fed, dtype=np.float64) / 1e3


def day_envelopes(community: Community, slots: range, fairness: Fairness) -> DayEnvelopes:
    """The envelopes of `slots` (within the data). GridError where the wires break a limit with nobody using anything."""
    check_slots(community, slots)
    wires, bus = network(community), member_bus(community)
    import_cap, export_cap = connections(community)
    reactive = member_series(community, slots).reactive_kvar
    rules = community.wires
    most_in, most_out = (np.inf if limit is None else limit / 1e3 for limit in (rules.import_limit_w, rules.export_limit_w))
    found: dict[bytes, tuple[Float64, Float64]] = {}
    rows = []
    for row in range(len(slots)):
        at_bus = reactive_at(bus, wires.buses, reactive[row])
        if at_bus.tobytes() not in found:
            slot = FeederSlot(wires, community.grid.hours, None, at_bus / 1e3, most_in, most_out)
            envelopes = operating_envelopes(slot, bus, import_cap, export_cap, fairness)
            found[at_bus.tobytes()] = envelopes.import_kw, envelopes.export_kw
        rows.append(found[at_bus.tobytes()])
    taken, fed = (np.array([row[side] for row in rows]) for side in (0, 1))
    return DayEnvelopes(slots, import_cap, export_cap, taken, fed)
