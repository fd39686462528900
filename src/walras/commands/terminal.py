"""How commands speak: sentences broken between words at the width of the terminal (80 where there is none), a number never parted
from its unit, a path or a hash never broken. What is printed is never read as markup: a path may have brackets in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from textwrap import wrap

from rich.console import Console
from rich.progress import Progress, ProgressColumn

INDENT = "  "
_UNIT = re.compile(r"(?<=\d) (?=[A-Za-zµ%°])")
_JOINED = "\x1f"


def screen() -> Console:
    """Standard output, for `say` and for tables."""
    return Console(highlight=False, markup=False, emoji=False)


def progress(*columns: ProgressColumn) -> Progress:
    """A bar on standard error that is gone when it is done; nothing where that is no terminal."""
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def say(console: Console, text: str, *, indent: str = INDENT, style: str = "") -> None:
    """Print `text`; where a line is too long it goes on below, further in by `indent`."""
    for line in wrapped(text, console.width, indent):
        console.print(line, soft_wrap=True, style=style)


def wrapped(text: str, width: int, indent: str = INDENT) -> Iterator[str]:
    """The lines of `text`, none above `width` characters unless a single word is.

    >>> list(wrapped("gained 4.70 EUR", 14))
    ['gained', '  4.70 EUR']
    """
    for line in text.split("\n"):
        deeper = " " * (len(line) - len(line.lstrip())) + indent
        whole = _UNIT.sub(_JOINED, line)
        pieces = wrap(whole, width, subsequent_indent=deeper, break_long_words=False, break_on_hyphens=False)
        yield from (piece.replace(_JOINED, " ") for piece in pieces or [""])
