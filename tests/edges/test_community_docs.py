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


@pytest.mark.parametrize("place", TABLES)
def test_every_field_the_reader_knows_is_on_the_page(tmp_path: Path, place: str) -> None:
    """An unknown field draws a fault that lists the known ones of its table."""
    assert place in BASE
    strange = place + "strange = 1\n" if place.endswith("\n") else place.replace("{ ", "{ strange = 1, ", 1)
    path = write_small(tmp_path, BASE.replace(place, strange, 1))
    with pytest.raises(InputError) as caught:
        load_community(path)
    known = next(fault.expected for fault in caught.value.faults if fault.field == "strange")
    page = PAGE.read_text(encoding="utf-8")
    names = re.findall(r"[a-z_]+", known.removeprefix("a known field"))
    assert len(names) > 1
    for name in names:
        assert re.search(rf"[`{{ ]{name}[`, }}]", page), name


def test_every_field_of_the_ledger_is_on_the_page(tmp_path: Path) -> None:
    strange = '\n[ledger]\nstrange = 1\ngate = [{ strange = 2, name = "kyc", keeper = "0x' + "11" * 20 + '" }]\n'
    with pytest.raises(InputError) as caught:
        load_community(write_small(tmp_path, BASE + strange))
    lists = [fault.expected for fault in caught.value.faults if fault.field == "strange"]
    names = {name for text in lists for name in re.findall(r"[a-z_]+", text.removeprefix("a known field"))}
    assert len(lists) == 2
    assert len(names) == 12
    page = PAGE.read_text(encoding="utf-8")
    for name in names:
        assert re.search(rf"[`{{ ]{name}[`, }}]", page), name


@pytest.mark.parametrize("table", ["[wires]", "[tariffs.grid]"])
def test_every_field_of_a_table_that_may_be_left_out_is_on_the_page(tmp_path: Path, table: str) -> None:
    path = write_small(tmp_path, BASE.replace("[metering]\n", f"{table}\nstrange = 1\n\n[metering]\n", 1))
    with pytest.raises(InputError) as caught:
        load_community(path)
    known = next(fault.expected for fault in caught.value.faults if fault.field == "strange")
    page = PAGE.read_text(encoding="utf-8")
    names = re.findall(r"[a-z_]+", known.removeprefix("a known field"))
    assert len(names) > 3
    for name in names:
        assert re.search(rf"[`{{ ]{name}[`, }}]", page), name


def test_the_conventions_named_on_the_page_exist() -> None:
    row = next(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `conventions`"))
    assert set(re.findall(r"`([a-z_]+)`", row)) - {"conventions"} <= set(Conventions.__dataclass_fields__)
