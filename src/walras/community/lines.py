"""Where in a TOML file a value stands: a path of keys and positions to its line, so that a fault can name the line.

`tomllib` reads values without their lines. This index follows the shapes that community files use: table headers, arrays of
tables, `key = value`, and inline tables inside an array. A path that it does not know falls back to the nearest one above.
"""

from __future__ import annotations

import re

Path = tuple[str | int, ...]

_HEADER = re.compile(r"^\s*(\[\[|\[)\s*([^\[\]]+?)\s*(\]\]|\])\s*(#.*)?$")
_KEY = re.compile(r"^\s*([A-Za-z0-9_-]+)\s*=")


class LineIndex:
    """Lines (from 1) by path.

    >>> index = LineIndex('[a]\\nx = 1\\n[[m]]\\nloads = [\\n  { y = 2 },\\n  { y = 3 },\\n]\\n')
    >>> index.line(("a", "x")), index.line(("m", 0, "loads", 1, "y")), index.line(("b",))
    (2, 6, None)
    """

    def __init__(self, text: str) -> None:
        self._lines: dict[Path, int] = {}
        table: Path = ()
        counts: dict[Path, int] = {}
        open_value: _Value | None = None
        for number, line in enumerate(text.splitlines(), start=1):
            if open_value is None:
                header = _HEADER.match(line)
                key = _KEY.match(line)
                if header:
                    table = self._enter(header, counts)
                    self._lines.setdefault(table, number)
                elif key:
                    path = (*table, key.group(1))
                    self._lines.setdefault(path, number)
                    open_value = _Value(path)
                    line = line[key.end() :]
            if open_value is not None:
                for position in open_value.read(line):
                    self._lines.setdefault((*open_value.path, position), number)
                if not open_value.open:
                    open_value = None

    def line(self, path: Path) -> int | None:
        """The line of `path`, or of the nearest path above it; None where nothing above is known."""
        while path:
            if path in self._lines:
                return self._lines[path]
            path = path[:-1]
        return None

    @staticmethod
    def _enter(header: re.Match[str], counts: dict[Path, int]) -> Path:
        names: Path = tuple(part.strip().strip("\"'") for part in header.group(2).split("."))
        path: Path = ()
        for name in names[:-1]:
            path = (*path, name)
            if path in counts:
                path = (*path, counts[path] - 1)
        path = (*path, names[-1])
        if header.group(1) == "[[":
            counts[path] = counts.get(path, 0) + 1
            return (*path, counts[path] - 1)
        return path


class _Value:
    """Follows brackets and strings through the lines of one value."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stack: list[str] = []
        self._position = 0

    @property
    def open(self) -> bool:
        """True while a bracket waits to be closed on a later line."""
        return bool(self._stack)

    def read(self, line: str) -> list[int]:
        """Positions of the elements of the outer array that begin on this line."""
        begun = []
        quote = ""
        for sign in line:
            if quote:
                quote = "" if sign == quote else quote
            elif sign in "\"'":
                quote = sign
            elif sign == "#":
                break
            elif sign in "[{":
                if sign == "{" and self._stack == ["["]:
                    begun.append(self._position)
                    self._position += 1
                self._stack.append(sign)
            elif sign in "]}" and self._stack:
                self._stack.pop()
        return begun
