"""`walras clear`: one book, JSON in, JSON out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from walras.errors import Fault, InputError
from walras.grid.nodal_book import SHELF
from walras.market.book import clear_book, describe_mechanisms, parse_book


def clear_command(book: Path, mechanism: str) -> None:
    """Clear and print."""
    print(json.dumps(clear_book(parse_book(read_book_text(book)), mechanism, SHELF), indent=1))


def read_book_text(book: Path) -> str:
    """The text of a book's file; `-` is standard input."""
    if str(book) == "-":
        return sys.stdin.read()
    if not book.is_file():
        raise InputError("book", [Fault("command line", "book", str(book), "a file with a book of orders (JSON), or -")])
    return book.read_text(encoding="utf-8")


def list_command() -> None:
    """The mechanisms and their conventions, as JSON."""
    print(json.dumps(describe_mechanisms(SHELF), indent=1))
