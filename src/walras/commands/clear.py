"""`walras clear`: one book, JSON in, JSON out."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from walras.commands.options import read_text
from walras.errors import Fault, InputError
from walras.grid.instruments_book import SHELF
from walras.market.book import clear_book, describe_mechanisms, parse_book


def clear_command(book: Path, mechanism: str) -> None:
    """Clear and print."""
    check_mechanism(mechanism, SHELF)
    print(json.dumps(clear_book(parse_book(read_book_text(book)), mechanism, SHELF), indent=1))


def check_mechanism(name: str, known: Iterable[str]) -> None:
    """InputError with the names that there are, unless `name` is one of them."""
    if name not in known:
        raise InputError("mechanism", [Fault("command line", "mechanism", name, "one of " + ", ".join(sorted(known)))])


def read_book_text(book: Path) -> str:
    """The text of a book's file; `-` is standard input."""
    text = read_text(book, "book", "BOOK", "a book of orders, JSON in UTF-8, or - for standard input")
    if not text.strip():
        raise InputError("book", [Fault(str(book), "BOOK", "nothing", "a book of orders (JSON)")])
    return text


def list_command() -> None:
    """The mechanisms and their conventions, as JSON."""
    print(json.dumps(describe_mechanisms(SHELF), indent=1))
