"""Runs that several end-to-end tests share: made once a test process, in a folder that pytest removes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from walras.exchange.folder import key_place, sealed_text
from walras.exchange.journal import GENESIS, canonical
from walras.study.runner import PUBLIC, Options, Run, opened_by_operator

EXAMPLES = Path(__file__).parents[2] / "examples"


@cache
def rural1_day() -> Path:
    """A day of rural1, undisturbed. Do not write into it: `copy_of` gives a copy."""
    folder = Path(mkdtemp(prefix="walras-test-")) / "rural1"
    for _ in Run(EXAMPLES / "rural1.toml", folder, Options()):
        pass
    return folder


@cache
def rural1_on_wires() -> Path:
    """The same day with the limits of the wires holding. Do not write into it."""
    folder = Path(mkdtemp(prefix="walras-test-")) / "rural1-nodal"
    for _ in Run(EXAMPLES / "rural1.toml", folder, Options(mechanism="nodal")):
        pass
    return folder


def copy_of(run: Path, to: Path, *, key: bool = True) -> Path:
    """A copy that a test may break; with the operator's key beside it, as the run has it, or without."""
    shutil.copytree(run, to)
    if key:
        shutil.copy(key_place(run), key_place(to))
    return to


@cache
def file_of(run: Path) -> Path:
    """The community file that a run keeps sealed, in a file of its own."""
    opened = opened_by_operator(run)
    opened.journal.close()
    assert opened.master is not None
    path = Path(mkdtemp(prefix="walras-test-")) / "community.toml"
    path.write_text(sealed_text(run, opened.master)[0], encoding="utf-8")
    return path


def rechain(lines: list[bytes]) -> tuple[bytes, str]:
    """A forged record whose hash chain is whole again: what a dishonest operator could publish."""
    prev, out = GENESIS, []
    for line in lines:
        record = json.loads(line)
        record["prev"] = prev
        forged = canonical(record)
        prev = hashlib.sha256(forged).hexdigest()
        out.append(forged)
    return b"\n".join(out) + b"\n", prev


def forge(run: Path, to: Path, kind: str, change: Callable[[dict[str, Any]], object], nth: int = 80) -> Path:
    """A copy of the run's record with one entry changed and everything after it hashed anew."""
    lines = (run / PUBLIC).read_bytes().splitlines()
    rows = [i for i, line in enumerate(lines) if json.loads(line)["kind"] == kind]
    row = rows[min(nth, len(rows) - 1)]
    record = json.loads(lines[row])
    change(record["public"])
    lines[row] = canonical(record)
    data, head = rechain(lines)
    to.mkdir(exist_ok=True)
    (to / PUBLIC).write_bytes(data)
    (to / "HEAD").write_text(head + "\n")
    return to / PUBLIC


def add(field: str, row: int, amount: int) -> Callable[[dict[str, Any]], object]:
    """A forgery: one number of a column moved."""

    def change(public: dict[str, Any]) -> None:
        public[field][row] += amount

    return change


def with_late_readings(to: Path, percent: int) -> Path:
    """A community file like rural1, `percent` of whose readings come late."""
    to.mkdir(parents=True, exist_ok=True)
    text = (EXAMPLES / "rural1.toml").read_text()
    assert text.count("[metering]\n") == 1
    path = to / "rural1-late.toml"
    path.write_text(text.replace("[metering]\n", f"[metering]\nlate_percent = {percent}\n"))
    return path


@cache
def rural1_committed() -> Path:
    """The same day, a fifth of the readings late, with committed days. Do not write into it."""
    folder = Path(mkdtemp(prefix="walras-test-"))
    community = with_late_readings(folder, 20)
    community.write_text(community.read_text().replace("[metering]\n", "[metering]\nday_commitments = true\n"))
    for _ in Run(community, folder / "run", Options()):
        pass
    return folder / "run"


@cache
def rural1_late() -> Path:
    """The same day with a fifth of the readings late. Do not write into it."""
    folder = Path(mkdtemp(prefix="walras-test-"))
    for _ in Run(with_late_readings(folder, 20), folder / "run", Options()):
        pass
    return folder / "run"


def with_wires(to: Path, fields: str, *, minutes: int = 60) -> Path:
    """A community file like rural1 in slots of `minutes`, with `fields` under [wires]."""
    to.mkdir(parents=True, exist_ok=True)
    text = (EXAMPLES / "rural1.toml").read_text()
    for mark in ("[market]\n", "slot_minutes = 15"):
        assert text.count(mark) == 1
    path = to / "rural1-wires.toml"
    text = text.replace("[market]\n", f"[wires]\n{fields}\n[market]\n")
    path.write_text(text.replace("slot_minutes = 15", f"slot_minutes = {minutes}"))
    return path


REQUIRED = """limits = "nodal"
relief = "batteries"
emission_cap_kg_per_hour = 0.5
grid_g_per_kwh = 500
reserve_up_kw = 5
reserve_down_kw = 15
"""


@cache
def rural1_required() -> Path:
    """A day of rural1 by the hour, with a cap on carbon, reserve, and batteries that offer relief. Do not write into it."""
    folder = Path(mkdtemp(prefix="walras-test-"))
    for _ in Run(with_wires(folder, REQUIRED), folder / "run", Options()):
        pass
    return folder / "run"


CHARGES = """[tariffs.grid]
capacity_ct_per_kw_day = 12.5
excess_ct_per_kwh = 30
losses_ct_per_kwh = 25
losses_shared = "{shared}"

"""


def with_charges(to: Path, shared: str = "scaled", *, late_percent: int = 0) -> Path:
    """A community file like rural1 by the hour that charges capacity and losses; everybody subscribes to 3 kW."""
    to.mkdir(parents=True, exist_ok=True)
    text = (EXAMPLES / "rural1.toml").read_text().replace("slot_minutes = 15", "slot_minutes = 60")
    head, *members = text.split("[[member]]\n")
    head = head.replace("\n[tariffs.local]", "\n" + CHARGES.format(shared=shared) + "[tariffs.local]")
    head = head.replace("[metering]\n", f"[metering]\nlate_percent = {late_percent}\n")
    path = to / "rural1-charges.toml"
    path.write_text("[[member]]\nsubscribed_kw = 3\n".join([head, *members]))
    return path


@cache
def rural1_charged() -> Path:
    """A day of rural1 by the hour under charges for capacity and losses, a fifth of the readings late. Do not write into it."""
    folder = Path(mkdtemp(prefix="walras-test-"))
    for _ in Run(with_charges(folder, late_percent=20), folder / "run", Options()):
        pass
    return folder / "run"


@cache
def rural1_curtailed(order: str, paid_percent: int) -> Path:
    """A day of rural1 by the hour whose wires take back by `order`. Do not write into it."""
    folder = Path(mkdtemp(prefix="walras-test-"))
    fields = f'limits = "curtailed"\ncurtailment = "{order}"\ncurtailment_paid_percent = {paid_percent}\n'
    for _ in Run(with_wires(folder, fields), folder / "run", Options()):
        pass
    return folder / "run"


PRIVACY = """[privacy]
epsilon = 1
period = "day"
cap_kwh_per_day = 20

"""


def with_privacy(to: Path, aggregation: str = "masked", late_percent: int = 10) -> Path:
    """A community file like rural1 by the hour with a privacy budget, masked sums, and readings that come late."""
    to.mkdir(parents=True, exist_ok=True)
    text = (EXAMPLES / "rural1.toml").read_text().replace("slot_minutes = 15", "slot_minutes = 60")
    fields = f'aggregation = "{aggregation}"\nlate_percent = {late_percent}\n'
    path = to / f"rural1-{aggregation}.toml"
    path.write_text(text.replace("[metering]\n", PRIVACY + "[metering]\n" + fields))
    return path


@cache
def rural1_private() -> Path:
    """A day of rural1 by the hour with a privacy budget and masked sums, a tenth of the meters late. Do not write into it."""
    folder = Path(mkdtemp(prefix="walras-test-"))
    for _ in Run(with_privacy(folder), folder / "run", Options()):
        pass
    return folder / "run"
