"""`walras bill`: one member's bill for people, and the whole statement with its proofs as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from walras.commands.rights import OPERATOR, opened_run, refusal
from walras.exchange.journal import read_public_record
from walras.exchange.statement import Statement, check_statement, make_statement, opened_terms, statement_to_json
from walras.exchange.terms import Terms
from walras.metering.correction import reason_of_leaf
from walras.metering.purposes import PURPOSES
from walras.metering.vault import SALT_BYTES
from walras.service.data_protection import read_for
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
    console = Console(soft_wrap=True, highlight=False, emoji=False)
    with opened_run(run, secret, "walras bill") as (journal, _):
        refused = read_for(journal, run, member, PURPOSES["billing"], datetime.now(UTC), OPERATOR)
        if refused:
            raise refusal(run, member, refused)
        entries = list(journal.entries())
    statement = make_statement(entries, member)
    proofs = check_statement(statement, read_public_record(run / PUBLIC))
    terms, _ = opened_terms(entries)
    days = (
        f"{terms.grid.local(statement.slots[0][0]):%Y-%m-%d %H:%M} to {terms.grid.local(statement.slots[-1][0] + 1):%Y-%m-%d %H:%M}"
    )
    console.print(f"[bold]{member}[/bold], account {statement.account}, contract {statement.contract}, {days}")
    console.print(_energy_line(statement))
    console.print(_items_table(statement))
    edited = _edited(statement, terms)
    if statement.corrections:
        console.print(_corrections_table(statement, terms, bool(edited)))
    for line in edited:
        console.print(line)
    gain = statement.alone_nano - statement.total_nano
    verb = "saves" if gain >= 0 else "costs"
    money = format_money(abs(gain), statement.currency)
    console.print(f"the market {verb} {money} against the same energy on the own contract alone")
    console.print(
        f"{proofs} proofs hold: every reading under the attested root of its slot, every trade under the root on the chain"
    )
    if json_path is not None:
        json_path.write_text(json.dumps(statement_to_json(statement), indent=1) + "\n", encoding="utf-8")
        console.print(f"whole statement with proofs: {json_path}")


def _energy_line(statement: Statement) -> str:
    e = statement.energy_wh
    parts = [f"took {format_energy(e['import_wh'])}, {format_energy(e['bought_wh'])} of it from neighbours"]
    if e["export_wh"]:
        parts.append(f"gave {format_energy(e['export_wh'])}, {format_energy(e['sold_wh'])} of it to neighbours")
        parts.append(f"feed-in tariff {format_price(statement.feed_in_micro_per_kwh)}")
    return "; ".join(parts)


def _corrections_table(statement: Statement, terms: Terms, people: bool) -> Table:
    """Every correcting settlement on a line of its own: differences, already in the sums above."""
    title = f"corrected after {'late readings and edits' if people else 'late readings'}, in the sums above"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("slot", "taken", "given", "from neighbours", "to neighbours", "to pay"):
        table.add_column(name, justify="left" if name == "slot" else "right")
    for slot, taken, given, bought, sold, pays, _ in statement.corrections:
        energies = (f"{energy:+,} Wh" for energy in (taken, given, bought, sold))
        table.add_row(f"{terms.grid.local(slot):%Y-%m-%d %H:%M}", *energies, format_money(pays, statement.currency, 4))
    return table


def _edited(statement: Statement, terms: Terms) -> list[str]:
    """A line for each value that a person answers for: when, why, who; as settled at once (a meter exchange) or corrected."""
    found = {leaf.slot: reason_of_leaf(leaf.data[SALT_BYTES:]) for leaf in statement.leaves if leaf.kind.endswith("reading")}
    return [
        f"edited: {terms.grid.local(slot):%Y-%m-%d %H:%M}, {why[0].name.lower().replace('_', ' ')}, by {why[1]}"
        for slot, why in sorted(found.items())
        if why is not None
    ]


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
        "to pay" if statement.total_nano >= 0 else "to receive",
        format_money(statement.total_nano, statement.currency, 4),
        format_money(statement.alone_nano, statement.currency, 4),
        style="bold",
    )
    return table
