"""`walras game`: for each participant of a book, the best unilateral lie and what it gains."""

from __future__ import annotations

import json
from pathlib import Path

from walras.commands.clear import check_mechanism, read_book_text
from walras.errors import Fault, InputError
from walras.grid.nodal_book import SHELF
from walras.market.book import parse_book, read_book
from walras.market.comparison import FALSE_NAMES, OWN_NAME
from walras.market.game import best_misreport
from walras.market.mechanism import Claim
from walras.market.registry import mechanism_named


def game_command(book: Path, mechanism: str, tries: int) -> None:
    """Print the search's result as JSON: participant, gain, how."""
    check_mechanism(mechanism, SHELF)
    if tries < 0:
        raise InputError("walras game", [Fault("command line", "--tries", tries, "0 or more")])
    rule = mechanism_named(mechanism, SHELF)
    text = read_book_text(book)
    written = parse_book(text)
    orders, conventions, extra = read_book(written, rule, SHELF)
    names: dict[int, object] = {}
    for row, participant in zip(written["orders"], orders.participant.tolist(), strict=True):  # type: ignore[call-overload]
        names[participant] = row["participant"]
    found = []
    for participant in sorted(names):
        best, named = (
            best_misreport(rule, orders, conventions, participant, extra=extra or None, tries=tries, ways=ways)
            for ways in (OWN_NAME, FALSE_NAMES)
        )
        found.append(
            {
                "participant": names[participant],
                "honest_nano": best.honest_nano,
                "gain_nano": best.gain_nano,
                "how": best.how,
                "tried": best.tried,
                "false_names": {"gain_nano": named.gain_nano, "how": named.how, "tried": named.tried},
            }
        )
    claims = Claim.TRUTHFUL in rule.claims
    largest = max((row["gain_nano"] for row in found), default=0)  # type: ignore[type-var]
    print(
        json.dumps({"mechanism": mechanism, "claims_truthful": claims, "largest_gain_nano": largest, "misreports": found}, indent=1)
    )
