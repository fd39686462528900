"""What the public learns of an account is what the page about it says: a new public field has to be written down there first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from e2e.runs import rural1_charged, rural1_curtailed, rural1_day, rural1_private, rural1_required
from walras.exchange.journal import Entry, read_public_record
from walras.study.runner import PUBLIC, open_journal

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explain" / "who-sees-what.md"
HEADING = "## What the public record tells of an account"

OF_NOBODY = {
    *("currency", "format", "gates", "grid", "items", "local", "market", "name", "oracles", "settlement", "slots", "privacy"),
    *("contracts", "chain_id", "funded", "genesis_time", "operator_nonce", "registry", "start", "item_micro", "at", "certificate"),
    *("inventory_wh", "losses_wh", "mechanism", "node_prices", "price", "loading_ppm", "losses_w", "v_max_ppm", "v_min_ppm"),
    *("violations", "admitted", "devices", "balance_wh", "refused", "root", "signatures", "journal_head", "trades", "block", "gas"),
    *("transaction", "state_root", "revision", "slot", "clearing", "account", "act", "by"),
}
"""Terms, prices, hashes and counts of the community; `account` is the number itself, `act` and `by` what was done and by whom."""

RUNS: dict[str, Callable[[], Path]] = {
    "a day": rural1_day,
    "masked, late": rural1_private,
    "charged, late": rural1_charged,
    "nodal, relief": rural1_required,
    "curtailed": partial(rural1_curtailed, "pro_rata", 0),
}


def fields(entries: list[Entry]) -> Iterator[str]:
    for entry in entries:
        yield from entry.public


@pytest.mark.parametrize("kind", RUNS)
def test_every_public_field_is_on_the_page_about_what_the_public_learns(kind: str) -> None:
    section = PAGE.read_text().split(HEADING)[1]
    found = set(fields(read_public_record(RUNS[kind]() / PUBLIC)))
    assert "import_wh" in found
    assert sorted(name for name in found - OF_NOBODY if f"`{name}`" not in section) == []


def test_whose_reading_was_late_shows_where_its_number_changed_and_nowhere_else() -> None:
    """The page says so; the true ones are in the sealed parts."""
    run = rural1_charged()
    public = read_public_record(run / PUBLIC)
    first = {e.slot: e.public for e in public if e.kind == "settlement_submitted"}
    journal = open_journal(run)
    shown, true = 0, 0
    for entry in journal.entries():
        if entry.kind == "slot_corrected":
            then, now = first[entry.public["slot"]], entry.public
            columns = [zip(then[name], now[name], strict=True) for name in ("import_wh", "export_wh")]
            changed = {account for column in columns for account, (was, is_) in enumerate(column) if was != is_}
            assert entry.private is not None
            late = {account for account, part in enumerate(entry.private.members) if part and b"\xd2\x84" in part[18:]}
            assert changed <= late
            shown, true = shown + len(changed), true + len(late)
    journal.close()
    assert 0 < shown < true


def test_the_network_and_places_are_public_only_where_the_wires_are_settled() -> None:
    terms = {kind: read_public_record(make() / PUBLIC)[0].public for kind, make in RUNS.items()}
    assert [kind for kind in RUNS if '"bus"' in str(terms[kind]).replace("'", '"')] == [
        "charged, late",
        "nodal, relief",
        "curtailed",
    ]
