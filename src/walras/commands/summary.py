"""The few figures that sum up a run, for the terminal."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rich.console import Console

from walras.exchange.curtailment import recorded_wires
from walras.exchange.fold import BATCH_INCLUDED
from walras.exchange.journal import Entry, read_public_record
from walras.exchange.phases import EventKind
from walras.exchange.statement import opened_terms, settled_slots
from walras.exchange.terms import Terms
from walras.ledger.costs import direct_gas
from walras.units import checked_sum, format_energy, format_money, format_price


def summary_table(console: Console, run: Path) -> None:
    """Print energy, prices, money, wires and chain of the run in `run`, from its public record."""
    entries = read_public_record(run / "public.jsonl")
    terms, _ = opened_terms(entries)
    taken = located = returned = 0
    imported = exported = traded = pays = alone = gas = overloads = 0
    nano = np.zeros(terms.accounts, dtype=np.int64)
    paid, worst, corrected = 0, (0, ""), 0
    for s in settled_slots(terms, entries):
        volume = int(s.accounts.settled.bought_wh.sum())
        traded += volume
        imported += int(s.import_wh.sum())
        exported += int(s.export_wh.sum())
        nano += s.accounts.cash_nano
        pays += checked_sum(s.accounts.bills.total_nano)
        alone += checked_sum(s.alone.total_nano)
        paid += checked_sum(np.maximum(s.accounts.settled.local_nano, 0))
        gas += s.events[EventKind.SETTLED].public.get("gas", 0)
        corrected += s.correction is not None
        flow = s.events[EventKind.DELIVERED].public
        overloads += bool(flow["violations"])
        wires = recorded_wires(terms, s.slot, s.events)
        if wires is not None:
            taken += int(wires.curtailed_wh.sum())
            located += checked_sum(s.accounts.bills.nano[:, -2])
            returned -= checked_sum(s.accounts.bills.nano[:, -1])
        worst = max(worst, (flow["loading_ppm"][1], f"{terms.grid.local(s.slot):%d %b %H:%M}"))
    rows = [
        ("traded between neighbours", f"{format_energy(traded, 1)} at {format_price(paid // traded if traded else 0)} on average"),
        ("taken from / given to the grid", f"{format_energy(imported, 1)} / {format_energy(exported, 1)} at the meters"),
        ("members pay", f"{format_money(pays, terms.currency)}; without the market {format_money(alone, terms.currency)}"),
        ("gain of the members together", format_money(alone - pays, terms.currency)),
        ("highest loading of the wires", f"{worst[0] / 1e4:.1f} % ({worst[1]}); limits broken in {overloads} slots"),
        *_on_wires(terms, taken, located, returned),
        *([("corrected after late readings", f"{corrected} slots")] if corrected else []),
        _gas(terms, entries, gas),
        ("all balances sum to zero", f"{checked_sum(nano)} nano"),
    ]
    for name, text in rows:
        console.print(f"{name:<30}  {text}")


def _gas(terms: Terms, entries: list[Entry], slot_gas: int) -> tuple[str, str]:
    """What settlement used, and beside it what the other way would have used by the constants of `ledger.costs`."""
    batches = [entry.public for entry in entries if entry.kind == BATCH_INCLUDED]
    if terms.batches is None:
        return "gas", f"{slot_gas:,} for all settlements"
    used = sum(public["gas"] for public in batches)
    slots = sum(public["last"] - public["first"] + 1 for public in batches)
    alone = direct_gas([terms.accounts] * slots)
    return "gas", f"{used:,} for {len(batches)} batches of {slots} slots; slot by slot it would be about {alone:,}"


def _on_wires(terms: Terms, taken_wh: int, located_nano: int, returned_nano: int) -> list[tuple[str, str]]:
    """The rows of a run in which the limits of the wires hold."""
    if terms.wires is None:
        return []
    paid = format_money(located_nano, terms.currency)
    return [
        ("taken back by the wires", f"{format_energy(taken_wh, 1)} that members would have fed in"),
        ("locational charges", f"{paid}; back to members {format_money(returned_nano, terms.currency)}"),
    ]
