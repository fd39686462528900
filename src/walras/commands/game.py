"""`walras game`: for each participant of a book, the best unilateral lie and what it gains."""

from __future__ import annotations

import json
from pathlib import Path

from walras.commands.clear import check_mechanism, read_book_text
from walras.errors import Fault, InputError
from walras.grid.instruments_book import SHELF
from walras.market.book import parse_book, play_book


def game_command(book: Path, mechanism: str, tries: int) -> None:
    """Print the incentive audit of a book (`market.book.play_book`) as JSON."""
    check_mechanism(mechanism, SHELF)
    if tries < 0:
        raise InputError("walras game", [Fault("command line", "--tries", tries, "0 or more")])
    print(json.dumps(play_book(parse_book(read_book_text(book)), mechanism, tries=tries, shelf=SHELF), indent=1))
