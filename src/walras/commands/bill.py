"""`walras bill`: one member's bill for people, and the whole statement with its proofs as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from rich.table import Table

from walras.commands.rights import opened_run, refusal
from walras.commands.terminal import say, screen
from walras.errors import AuditError
from walras.exchange.acts import Act, ActKind, act_from_public
from walras.exchange.edits import overtaken
from walras.exchange.fold import ACT
from walras.exchange.journal import Entry, read_public_record
from walras.exchange.ordered import outcomes
from walras.exchange.owners_file import write_owners_file
from walras.exchange.parts import signed_order
from walras.exchange.phases import EventKind
from walras.exchange.statement import Statement, check_statement, make_statement, opened_terms, settled_slots, statement_to_json
from walras.exchange.terms import Terms
from walras.metering import public_key_of
from walras.metering.correction import reason_of_leaf
from walras.metering.dispatch import open_order, order_to_public
from walras.metering.purposes import PURPOSES
from walras.metering.reading import Quality
from walras.metering.slot_readings import energy_of_leaf, quality_of_leaf
from walras.metering.vault import SALT_BYTES
from walras.service.data_protection import read_for
from walras.study.ordered_lines import holders_of, ordered_rows
from walras.study.runner import PUBLIC
from walras.units import format_energy, format_money, format_price

TITLES = {
    "energy": "energy from the supplier",
    "network": "network fee",
    "vat": "VAT",
    "local_trade": "energy from and to neighbours",
    "local_network": "network fee, local",
    "local_operator": "market operator's fee",
    "local_vat": "VAT, local",
    "feed_in": "feed-in",
    "imbalance": "imbalance",
    "capacity": "capacity subscribed",
    "capacity_excess": "energy beyond the subscription",
    "network_losses": "losses in the network",
    "curtailment": "feed-in taken back",
    "reserve": "reserve held for the feeder",
    "locational": "place in the network",
    "rent_returned": "share of the wires' earnings",
}


def bill_command(run: Path, member: str, json_path: Path | None, secret: Path | None = None) -> None:
    """Print the bill of `member`, its proofs checked against the public record."""
    console = screen()
    with opened_run(run, secret, "walras bill") as opened:
        journal = opened.journal
        refused = read_for(journal, run, member, PURPOSES["billing"], datetime.now(UTC), opened.by)
        if refused:
            raise refusal(run, member, refused)
        entries = list(journal.entries())
    statement = make_statement(entries, member)
    proofs = check_statement(statement, read_public_record(run / PUBLIC))
    terms, _ = opened_terms(entries)
    days = (
        f"{terms.grid.local(statement.slots[0][0]):%Y-%m-%d %H:%M} to {terms.grid.local(statement.slots[-1][0] + 1):%Y-%m-%d %H:%M}"
    )
    say(console, f"{member}, account {statement.account}, contract {statement.contract}, {days}", style="bold")
    say(console, _energy_line(statement))
    console.print(_items_table(statement))
    edited, vain = _edited(statement, terms), _overtaken(entries, statement, terms)
    if statement.corrections:
        console.print(_corrections_table(statement, terms, bool(edited)))
    for line in [*edited, *vain, *_marked(statement, terms), *_orders(entries, terms, statement)]:
        say(console, line)
    gain = statement.alone_nano - statement.total_nano
    verb = "saves" if gain >= 0 else "costs"
    money = format_money(abs(gain), statement.currency)
    say(console, f"the market {verb} {money} against the same energy on their own contract alone")
    say(
        console, f"{proofs} proofs hold: every reading under the attested root of its slot, every trade under the root on the chain"
    )
    if json_path is not None:
        write_owners_file(json_path, json.dumps(statement_to_json(statement), indent=1) + "\n")
        say(console, f"whole statement with proofs: {json_path}")


def _energy_line(statement: Statement) -> str:
    e = statement.energy_wh
    parts = [f"took {format_energy(e['import_wh'])}, {format_energy(e['bought_wh'])} of it from neighbours"]
    if e["export_wh"]:
        parts.append(f"gave {format_energy(e['export_wh'])}, {format_energy(e['sold_wh'])} of it to neighbours")
        parts.append(f"feed-in tariff {format_price(statement.feed_in_micro_per_kwh)}")
    return "; ".join(parts)


def _orders(entries: list[Entry], terms: Terms, statement: Statement) -> list[str]:
    """What others ordered of the member's devices, each order opened again as it was signed, and what the meter showed."""
    account = statement.account
    acts = [(entry, act_from_public(entry)) for entry in entries if entry.kind == ACT and entry.public["account"] == account]
    acts = [(entry, act) for entry, act in acts if act.kind is ActKind.DISPATCHED]
    if not acts:
        return []
    lines = [_order(terms, entry, act) for entry, act in acts]
    mine = [
        outcome
        for s in settled_slots(terms, entries)
        for outcome in outcomes(s.slot, s.events[EventKind.SLOT_OPENED].public, s.import_wh - s.export_wh)
        if outcome.order.account == account
    ]
    return lines + [f"{name}: {text}" for name, text in ordered_rows(mine, holders_of(entries), terms.grid, lambda _: "this meter")]


def _order(terms: Terms, entry: Entry, act: Act) -> str:
    """One order in words; AuditError where the record says something else than was signed."""
    detail = act.detail or {}
    encoded = None if act.account is None else signed_order(entry, act.account)
    if encoded is not None:
        opened = open_order(encoded, public_key_of(detail["issuer"]), act.at)
        if not isinstance(opened, tuple) or (opened[0].holder, order_to_public(*opened, encoded)) != (act.by, detail):
            raise AuditError(f"entry {entry.seq}: the order is not the one that was signed", thing=entry.seq)
    signed = "its signed bytes are erased" if encoded is None else "signature and credential hold"
    first, last = terms.grid.local(detail["first_slot"]), terms.grid.local(detail["last_slot"] + 1)
    bounds = f"{_watts(detail['low_w'])} to {_watts(detail['high_w'])}"
    return f"ordered by {act.by} for {first:%Y-%m-%d %H:%M} to {last:%H:%M}: {bounds} net at the meter; {signed}"


def _watts(power: int | None) -> str:
    return "any" if power is None else f"{power:,} W"


def _corrections_table(statement: Statement, terms: Terms, people: bool) -> Table:
    """Every correcting settlement on a line of its own: differences, already in the sums above."""
    title = f"corrected after {'late readings and edits' if people else 'late readings'}, in the sums above"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("slot", "taken", "given", "from neighbours", "to neighbours", "to pay"):
        table.add_column(name, justify="left" if name == "slot" else "right", no_wrap=name == "slot")
    for slot, taken, given, bought, sold, pays, _ in statement.corrections:
        energies = (f"{energy:+,} Wh" for energy in (taken, given, bought, sold))
        table.add_row(terms.grid.shown(slot), *energies, format_money(pays, statement.currency, 4))
    return table


MARKS: dict[int, str] = {
    Quality.CLOCK_UNCERTAIN: "measured by a clock that was not set",
    Quality.INTERRUPTED: "measured, with the supply interrupted",
    Quality.SUBSTITUTE_SAME_SLOT: "no reading came: a substitute, the same slot of a like day",
    Quality.SUBSTITUTE_FORECAST: "no reading came: a substitute, the forecast",
    Quality.SUBSTITUTE_ZERO: "no reading came: a substitute, zero",
    Quality.SUBSTITUTE_INTERPOLATED: "no reading came: a substitute, in equal parts from the registers around it",
}
"""What a mark says in words; an edit has a line of its own."""


def _marked(statement: Statement, terms: Terms) -> list[str]:
    """A line for each run of slots that stand under a mark: what it says, since when, how many, and what was billed in them."""
    standing = {leaf.slot: leaf.data[SALT_BYTES:] for leaf in statement.leaves if leaf.kind.endswith("reading")}
    runs: list[tuple[str, int, int, int, int]] = []
    for slot, leaf in sorted(standing.items()):
        words, energy = MARKS.get(quality_of_leaf(leaf) or 0), energy_of_leaf(leaf)
        if words is None or energy is None:
            continue
        before = runs[-1] if runs else ("", 0, 0, 0, 0)
        if before[0] == words and before[1] + before[2] == slot:
            runs[-1] = (words, before[1], before[2] + 1, before[3] + energy[0], before[4] + energy[1])
        else:
            runs.append((words, slot, 1, *energy))
    return [
        f"{words}: {count:,} {'slot' if count == 1 else 'slots'} from {terms.grid.shown(first)}, "
        f"{taken:,} Wh taken, {given:,} Wh given"
        for words, first, count, taken, given in runs
    ]


def _edited(statement: Statement, terms: Terms) -> list[str]:
    """A line for each value that a person answers for: when, why, who; as settled at once (a meter exchange) or corrected."""
    found = {leaf.slot: reason_of_leaf(leaf.data[SALT_BYTES:]) for leaf in statement.leaves if leaf.kind.endswith("reading")}
    return [
        f"edited: {terms.grid.shown(slot)}, {why[0].name.lower().replace('_', ' ')}, by {why[1]}"
        for slot, why in sorted(found.items())
        if why is not None
    ]


def _overtaken(entries: list[Entry], statement: Statement, terms: Terms) -> list[str]:
    """A line for each edit of the member's readings that was ordered in time and does not stand."""
    lines = []
    for act in overtaken(entries):
        if act.account == statement.account and act.detail is not None:
            taken, given = act.detail["now"]
            when, why = terms.grid.shown(act.detail["slot"]), act.detail["reason"].replace("_", " ")
            lines.append(
                f"an edit that did not count: {when} to {taken:,} Wh taken, {given:,} Wh given, {why}, by {act.by}: "
                "a late reading or another edit had come there"
            )
    return lines


def _items_table(statement: Statement) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("item")
    table.add_column("with the market", justify="right")
    table.add_column("without", justify="right")
    for name, nano in statement.items.items():
        if nano or statement.alone[name]:
            title = TITLES.get(name, name.removeprefix("local_") + (", local" if name.startswith("local_") else ""))
            table.add_row(title, *(format_money(v, statement.currency, 4) for v in (nano, statement.alone[name])))
    table.add_section()
    table.add_row(
        "to pay" if min(statement.total_nano, statement.alone_nano) >= 0 else "to pay (minus: to receive)",
        format_money(statement.total_nano, statement.currency, 4),
        format_money(statement.alone_nano, statement.currency, 4),
        style="bold",
    )
    return table
