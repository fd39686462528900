"""`walras report`: the page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from walras.commands.rights import opened_run
from walras.commands.summary import summary_table
from walras.commands.terminal import say, screen
from walras.errors import Fault, InputError
from walras.ledger.costs import WEI_PER_GWEI, CostTerms
from walras.metering.purposes import purpose_named
from walras.service.data_protection import named_for, page_place
from walras.study.report import write_report

MOST = 10**9
"""Highest price of gas (gwei) or of a coin that anybody may ask about."""


@dataclass(frozen=True, slots=True)
class Reader:
    """For which purpose the page is made, and whose key opens the folder: that in a file, or the one beside it."""

    purpose: str = "operation"
    opener: Path | None = None


def public_command(run: Path) -> None:
    """What anybody may know of a run, by account number: from its public record, and with nobody's key."""
    summary_table(screen(), run)


def report_command(
    run: Path, out: Path | None, gas_gwei: str, coin_price: str, batch_slots: int, reader: Reader | None = None
) -> None:
    """Write the page and say where. Prices are decimal text, so that no binary fraction comes between.

    Members are named as far as the purpose may see them; the others stand there with their account number, as in the public record.
    """
    page = out or page_place(run)
    wei, nano = _whole("--gas-gwei", gas_gwei, WEI_PER_GWEI), _whole("--coin-price", coin_price, 10**9)
    reader = reader or Reader()
    purpose = purpose_named(reader.purpose)
    with opened_run(run, reader.opener, "walras report") as opened:
        named = named_for(opened.journal, run, purpose, datetime.now(UTC), opened.by)
        write_report(run, page, CostTerms(wei, nano, batch_slots), named, opened)
    say(screen(), f"report: {page} ({page.stat().st_size / 1e6:.1f} MB, opens in any browser)")


def _whole(option: str, text: str, unit: int) -> int:
    """`text` in the small unit; InputError where it is no number, negative, or finer than nine decimals."""
    try:
        value = Decimal(text) * unit
        whole = int(value) if value.is_finite() and 0 <= value <= MOST * unit and value == value.to_integral_value() else None
    except InvalidOperation:
        whole = None
    if whole is None:
        expected = f"a number from 0 to {MOST:,} with at most nine decimals"
        raise InputError("walras report", [Fault("command line", option, text, expected)])
    return whole
