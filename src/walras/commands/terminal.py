"""How commands speak: sentences broken between words at the width of the terminal (80 where there is none), a number never parted
from its unit, a path or a hash never broken. What is printed is never read as markup: a path may have brackets in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import wrap

from rich.console import Console

INDENT = "  "
_UNIT = re.compile(r"(?<=\d) (?=[A-Za-zµ%°])")
_JOINED = "\x1f"


def screen() -> Console:
    """Standard output, for `say` and for tables."""
    return Console(highlight=False, markup=False, emoji=False)


def say(console: Console, text: str, *, indent: str = INDENT, style: str = "") -> None:
    """Print `text`; where a line is too long it goes on under `indent`."""
    for line in wrapped(text, console.width, indent):
        console.print(line, soft_wrap=True, style=style)


def wrapped(text: str, width: int, indent: str = INDENT) -> Iterator[str]:
    """The lines of `text`, none above `width` characters unless a single word is.

    >>> list(wrapped("gained 4.70 EUR", 14))
    ['gained', '  4.70 EUR']
    """
    for line in text.split("\n"):
        pieces = wrap(_UNIT.sub(_JOINED, line), width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        yield from (piece.replace(_JOINED, " ") for piece in pieces or [""])
