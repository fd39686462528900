"""`walras clear`: one book, JSON in, JSON out."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from walras.errors import Fault, InputError
from walras.market.book import clear_book, describe_mechanisms, parse_book


def clear_command(book: Path, mechanism: str) -> None:
    """Clear and print."""
    if str(book) == "-":
        text = sys.stdin.read()
    elif not book.is_file():
        raise InputError("walras clear", [Fault("command line", "book", str(book), "a file with a book of orders (JSON), or -")])
    else:
        text = book.read_text(encoding="utf-8")
    print(json.dumps(clear_book(parse_book(text), mechanism), indent=1))


def list_command() -> None:
    """The mechanisms and their conventions, as JSON."""
    print(json.dumps(describe_mechanisms(), indent=1))
