"""`walras limits`: what each limit of a run cost, and what one more unit of it would have been worth: of every rating, voltage and
exchange, of the cap on emissions and of reserve. Fits 80 columns.
"""

from __future__ import annotations

import json
from pathlib import Path

from rich.table import Table

from walras.commands.terminal import say, screen
from walras.errors import InputError
from walras.exchange.curtailment import recorded_wires
from walras.exchange.journal import read_public_record
from walras.exchange.statement import opened_terms, settled_slots
from walras.grid import LIMIT_NAMES, limit_worths
from walras.grid.rows import IMPORT_LIMIT
from walras.grid.shadow import LimitWorth
from walras.study.required import required_lines
from walras.units import format_energy, format_money, format_price

HOURS_A_YEAR = 8_760
OF_THE_FEEDER = LIMIT_NAMES[IMPORT_LIMIT:]
"""Limits of the feeder as a whole, which need no name of a place."""


def limits_command(run: Path, out: Path | None) -> None:
    """Print every limit that bound, the most valuable first; write them as JSON where asked."""
    entries = read_public_record(run / "public.jsonl")
    terms, _ = opened_terms(entries)
    if terms.wires is None:
        raise InputError(
            f"{run}: its limits were only watched, so none has a price",
            [],
            way_out='run it with --mechanism nodal, or [wires] limits = "nodal" in the community file',
        )
    if not terms.wires.priced:
        raise InputError(
            f"{run}: its limits hold by an order ({terms.wires.order.replace('_', ' ')}), so none has a price",
            [],
            way_out='[wires] limits = "nodal" gives every limit its price; what was taken back is in `walras report`',
        )
    slots = [recorded_wires(terms, s.slot, s.events) for s in settled_slots(terms, entries)]
    cleared = [slot for slot in slots if slot is not None]
    worths = limit_worths(terms.wires.network, (slot.clearing for slot in cleared), terms.grid.hours)
    hours = len(cleared) * terms.grid.hours
    taken = sum(int(slot.curtailed_wh.sum()) for slot in cleared)
    console = screen()
    say(
        console,
        f"{terms.name}: {hours:g} hours on the wires; {format_energy(taken, 1)} taken back of what members would have fed in",
    )
    for line in required_lines(terms.wires, cleared, worths, terms.currency):
        say(console, line)
    if not worths:
        say(console, "no limit was reached: one more unit of any would have been worth nothing")
    else:
        console.print()
        console.print(_table(worths, terms.currency))
        console.print()
        say(console, "worth: what one more unit of the limit would have saved over the run, by the shadow prices of its clearings")
        say(console, "broken: hours in which nothing that members offered could keep the limit; it has no price there")
        if hours < HOURS_A_YEAR:
            say(console, f"the run is {hours:g} hours long; for a year's worth run a year")
    if out is not None:
        out.write_text(json.dumps([_row(w) for w in worths], indent=1) + "\n", encoding="utf-8")
        say(console, f"figures: {out}")


def _table(worths: list[LimitWorth], currency: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("limit", "bound h", "broken h", "one more", "was worth", "most/hour"):
        table.add_column(head, justify="left" if head == "limit" else "right", overflow="fold", no_wrap=head != "limit")
    for w in worths:
        table.add_row(
            w.kind if w.kind in OF_THE_FEEDER else f"{w.kind} {w.name}",
            f"{w.bound_hours:g}",
            f"{w.broken_hours:g}",
            w.unit,
            format_money(1000 * w.worth_micro, currency),
            format_price(w.peak_micro_per_hour).replace("ct/kWh", "ct"),
        )
    return table


def _row(w: LimitWorth) -> dict[str, object]:
    return {name: getattr(w, name) for name in LimitWorth.__dataclass_fields__}
