"""What a community requires of its feeder, and what came of it over a run, in sentences: relief, carbon, reserve.

All of it from the clearings on the wires that the public record holds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from walras.exchange.curtailment import WiresSlot
from walras.exchange.wires import Wires
from walras.grid import LIMIT_NAMES
from walras.grid.rows import EMISSIONS_CAP, RESERVE_DOWN, RESERVE_UP
from walras.grid.shadow import LimitWorth
from walras.units import format_energy, format_money

KG_PER_TONNE = 1_000


def _tonne(cap: LimitWorth, currency: str) -> str:
    """A kg/h more in every hour in which the cap bound is as many kg as hours."""
    return format_money(round(1_000 * KG_PER_TONNE * cap.worth_micro / cap.bound_hours), currency)


def _not_held(worths: Sequence[LimitWorth]) -> list[tuple[str, float]]:
    """Hours in which reserve up, and reserve down, could not be held; a slot short of both counts in both."""
    return [
        (word, sum(w.broken_hours for w in worths if w.kind == LIMIT_NAMES[kind]))
        for word, kind in (("up", RESERVE_UP), ("down", RESERVE_DOWN))
    ]


def required_lines(wires: Wires, slots: Sequence[WiresSlot], worths: Sequence[LimitWorth], currency: str) -> list[str]:
    """One sentence for each thing required; none where the community requires nothing beside its wires."""
    required, lines = wires.required, []
    if wires.relief != "none":
        called = sum(int(np.abs(slot.moved_wh).sum()) for slot in slots)
        lines.append(f"relief: batteries were called for {format_energy(called, 1)} beside their own plans")
    if required is not None and required.cap_g_per_hour is not None:
        emitted = sum(int(np.asarray(slot.clearing.certificate["emitted_mg"])) for slot in slots)
        cap = f"{required.cap_g_per_hour / 1e3:g} kg of CO2 an hour"
        missed = sum(w.broken_hours for w in worths if w.kind == LIMIT_NAMES[EMISSIONS_CAP])
        beyond = f", not kept in {missed:g} hours" if missed else ""
        lines.append(f"emissions: {emitted / 1e9:,.3f} t of CO2 with the import, under a cap of {cap}{beyond}")
        lines += [
            f"one more tonne of CO2: was worth {_tonne(w, currency)} over the {w.bound_hours:g} hours in which the cap bound"
            for w in worths
            if w.kind == LIMIT_NAMES[EMISSIONS_CAP] and w.bound_hours
        ]
    if required is not None and wires.holds_reserve:
        up, down = required.reserve_up_w / 1e3, required.reserve_down_w / 1e3
        short = [f"{word} not held in {hours:g} hours" for word, hours in _not_held(worths) if hours]
        lines.append("; ".join([f"reserve: {up:g} kW up and {down:g} kW down, out of what members offer", *short]))
    return lines
