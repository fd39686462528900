"""Reads typed fields out of a parsed TOML table and collects every fault on the way, instead of stopping at the first.

A `Table` hands out its fields one by one; what is absent, of another type, out of range, not a number or never asked for
becomes
a `Fault` with its line. A faulty field yields a harmless stand-in so that reading goes on; nobody gets to see it, since the
reader raises when there are faults. Decimal numbers are scaled to whole units exactly, never through float.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeVar

from walras.community.lines import LineIndex, Path
from walras.errors import Fault

Name = TypeVar("Name", bound=str)
NOTHING: Any = object()


@dataclass(slots=True)
class Findings:
    """The faults found so far, each with the line it stands on."""

    lines: LineIndex
    found: list[tuple[int, Fault]] = field(default_factory=list)
    paths: set[Path] = field(default_factory=set)

    def add(self, path: Path, value: object, expected: str) -> None:
        """One more fault at `path`."""
        line = self.lines.line(path)
        table = ".".join(f"{part}" if isinstance(part, str) else f"{part + 1}" for part in path[:-1])
        where = f"line {line}" if line is not None else "file"
        shown = str(value) if isinstance(value, Decimal | date) else value
        name = str(path[-1]) if isinstance(path[-1], str) else f"{path[-1] + 1}"
        self.paths.add(path)
        entry = (line or 0, Fault(f"{where}, {table}" if table else where, name, shown, expected))
        if entry not in self.found:
            self.found.append(entry)

    def faults(self) -> list[Fault]:
        """All of them, in the order of the file."""
        return [fault for _, fault in sorted(self.found, key=lambda entry: entry[0])]


class Table:
    """One table of the file, at `path`. A `void` one stands for a missing table: that fault is named, its fields are not."""

    def __init__(self, values: dict[str, Any], path: Path, findings: Findings, *, void: bool = False) -> None:
        self.values = values
        self.path = path
        self._findings = findings
        self._asked: set[str] = set()
        self._void = void

    def fault(self, name: str, value: object, expected: str) -> None:
        """A fault at one of this table's fields."""
        self._findings.add((*self.path, name), value, expected)

    def has(self, name: str) -> bool:
        """Whether the field is there."""
        return name in self.values

    def sound(self, *names: str) -> bool:
        """Whether none of these fields has a fault: what binds fields together is asked only then."""
        return not self._void and not any((*self.path, name) in self._findings.paths for name in names)

    def text(self, name: str, expected: str, default: str = NOTHING) -> str:
        """A non-empty text."""
        value = self._get(name, expected, default)
        if value is NOTHING:
            return ""
        if not isinstance(value, str) or not value.strip():
            self.fault(name, value, expected)
            return ""
        return value

    def choice(self, name: str, options: Sequence[Name], default: Name = NOTHING) -> Name:
        """One of a few names."""
        expected = "one of " + ", ".join(options)
        value = self._get(name, expected, default)
        if value is not NOTHING and value not in options:
            self.fault(name, value, expected)
        return next((option for option in options if option == value), options[0])

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self._get(name, "true or false", default)
        if not isinstance(value, bool):
            self.fault(name, value, "true or false")
            return default
        return value

    def day(self, name: str) -> date:
        """A local date without a time."""
        value = self._get(name, "a date such as 2016-06-05", NOTHING)
        if isinstance(value, date) and not isinstance(value, datetime):
            return value
        if value is not NOTHING:
            self.fault(name, value, "a date such as 2016-06-05, without a time and without quotes")
        return date(2000, 1, 1)

    def whole(self, name: str, low: int, high: int, default: int = NOTHING) -> int:
        """A whole number from `low` to `high`."""
        expected = f"a whole number from {low} to {high}"
        value = self._get(name, expected, default)
        if value is NOTHING:
            return low
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self.fault(name, value, expected)
            return low
        return value

    def scaled(self, name: str, places: int, low: Decimal | int, high: Decimal | int, default: Decimal | int = NOTHING) -> int:
        """A decimal number from `low` to `high` times 10**`places`, exactly: 2.5 kW with places = 3 is 2,500 W."""
        expected = f"a number from {low} to {high} with at most {places} decimals"
        value = self._get(name, expected, default)
        if value is NOTHING:
            return 0
        number = Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(number, Decimal) or not number.is_finite() or not low <= number <= high:
            self.fault(name, value, expected)
            return 0
        whole = number.scaleb(places)
        if whole != whole.to_integral_value():
            self.fault(name, value, expected)
        return int(whole)

    def fraction(self, name: str) -> float:
        """A number above 0 and at most 1."""
        expected = "a number above 0 and at most 1"
        value = self._get(name, expected, NOTHING)
        if value is NOTHING:
            return 1.0
        number = Decimal(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(number, Decimal) or not number.is_finite() or not 0 < number <= 1:
            self.fault(name, value, expected)
            return 1.0
        return float(number)

    def table(self, name: str, *, required: bool = True) -> Table:
        """A table below this one; an empty one where it is absent."""
        value = self._get(name, "a table", NOTHING if required else {})
        if value is not NOTHING and not isinstance(value, dict):
            self.fault(name, value, "a table")
        known = isinstance(value, dict)
        return Table(value if known else {}, (*self.path, name), self._findings, void=not known)

    def tables(self, name: str, *, required: bool = False) -> list[Table]:
        """A list of tables below this one."""
        value = self._get(name, "a list of at least one table", NOTHING if required else [])
        if value is NOTHING:
            return []
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            self.fault(name, value, "a list of tables")
            return []
        if required and not value:
            self.fault(name, value, "a list of at least one table")
        return [Table(entry, (*self.path, name, k), self._findings) for k, entry in enumerate(value)]

    def texts(self, name: str, expected: str, default: list[str]) -> list[str]:
        """A list of texts."""
        value = self._get(name, expected, default)
        if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
            self.fault(name, value, expected)
            return default
        return value

    def close(self) -> None:
        """Every field that nobody asked for is a fault."""
        for name, value in self.values.items():
            if name not in self._asked:
                known = ", ".join(sorted(self._asked))
                self.fault(name, value if not isinstance(value, dict | list) else "...", f"a known field ({known})")

    def _get(self, name: str, expected: str, default: Any) -> Any:
        self._asked.add(name)
        if name in self.values:
            return self.values[name]
        if default is NOTHING and not self._void:
            self.fault(name, "absent", expected)
        return default
