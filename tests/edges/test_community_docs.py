"""The page that lists the fields of a community file lists all that the reader knows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from community_base import BASE, write_small
from walras.community import load_community
from walras.errors import InputError
from walras.market.conventions import Conventions

PAGE = Path(__file__).parents[2] / "docs" / "look-up" / "community-file.md"
TABLES = [
    "[community]\n",
    "[data]\n",
    "[market]\n",
    "[settlement]\n",
    "[gates]\n",
    "[forecast]\n",
    "[metering]\n",
    'id = "flat"\n',
    "[tariffs.local]\n",
    "[[tariffs.feed_in]]\n",
    'id = "home-1"\n',
    "{ name = ",
    "{ kind = ",
    "{ profile = ",
    "{ capacity_kwh = ",
    '{ name = "morning", ',
]


def known_fields(path: Path) -> tuple[int, set[str]]:
    """How many tables of the file at `path` have an unknown field `strange`, and the fields that their faults list as known."""
    with pytest.raises(InputError) as caught:
        load_community(path)
    lists = [fault.expected.removeprefix("a known field") for fault in caught.value.faults if fault.field == "strange"]
    return len(lists), {name for text in lists for name in re.findall(r"[a-z_]+", text)}


def missing_on_page(names: set[str]) -> list[str]:
    page = PAGE.read_text(encoding="utf-8")
    return [name for name in sorted(names) if not re.search(rf"[`{{ ]{name}[`, }}]", page)]


@pytest.mark.parametrize("place", TABLES)
def test_every_field_the_reader_knows_is_on_the_page(tmp_path: Path, place: str) -> None:
    """An unknown field draws a fault that lists the known ones of its table."""
    assert place in BASE
    strange = place + "strange = 1\n" if place.endswith("\n") else place.replace("{ ", "{ strange = 1, ", 1)
    tables, names = known_fields(write_small(tmp_path, BASE.replace(place, strange, 1)))
    assert tables == 1
    assert len(names) > 1
    assert missing_on_page(names) == []


def test_every_field_of_the_ledger_is_on_the_page(tmp_path: Path) -> None:
    strange = '\n[ledger]\nstrange = 1\ngate = [{ strange = 2, name = "kyc", keeper = "0x' + "11" * 20 + '" }]\n'
    tables, names = known_fields(write_small(tmp_path, BASE + strange))
    assert (tables, len(names)) == (2, 13)
    assert missing_on_page(names) == []


@pytest.mark.parametrize("table", ["[wires]", "[tariffs.grid]", "[privacy]"])
def test_every_field_of_a_table_that_may_be_left_out_is_on_the_page(tmp_path: Path, table: str) -> None:
    tables, names = known_fields(write_small(tmp_path, BASE.replace("[metering]\n", f"{table}\nstrange = 1\n\n[metering]\n", 1)))
    assert tables == 1
    assert len(names) >= 3
    assert missing_on_page(names) == []


def test_the_conventions_named_on_the_page_exist() -> None:
    row = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `conventions`"))
    assert set(re.findall(r"`([a-z_]+)`", row)) - {"conventions"} <= set(Conventions.__dataclass_fields__)
