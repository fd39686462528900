"""The house: every module imports, imports go downward only, rules do no IO, every room has a short public door."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import walras

ROOT = Path(walras.__file__).parent
ROOMS = (
    "market",
    "grid",
    "devices",
    "strategies",
    "tariffs",
    "flexibility",
    "metering",
    "ledger",
    "exchange",
    "community",
    "study",
    "service",
    "commands",
    "cli",
)
GROUND = ("units", "slots", "errors")
BELOW = {
    "devices": {"market", "tariffs"},
    "strategies": {"market", "devices", "tariffs"},
    "community": {"market", "grid", "devices", "tariffs"},
}
"""Rooms that may use less than everything above them in ROOMS, or records of a neighbour (tariffs are records and pure prices)."""
PURE = ("market", "grid", "devices", "strategies", "tariffs", "flexibility", "metering")
IO_MODULES = {
    "socket",
    "threading",
    "subprocess",
    "sqlite3",
    "time",
    "random",
    "secrets",
    "http",
    "urllib",
    "asyncio",
    "multiprocessing",
}


def modules() -> list[str]:
    return sorted(m.name for m in pkgutil.walk_packages([str(ROOT)], "walras."))


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("walras.")}
    return rooms


@pytest.mark.parametrize("name", modules())
def test_every_module_imports(name: str) -> None:
    assert importlib.import_module(name)


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_downward_only(path: Path) -> None:
    parts = path.relative_to(ROOT).with_suffix("").parts
    room = parts[0]
    used = imported_rooms(path) - {room} - set(GROUND)
    if room in GROUND or room == "__init__":
        assert not used, f"{path}: the ground imports {used}"
        assert room in ("__init__", "errors") or imported_rooms(path) <= {"errors"} | set(GROUND)
        return
    allowed = BELOW.get(room, set(ROOMS[: ROOMS.index(room)]))
    assert used <= allowed, f"{path.relative_to(ROOT)} imports {sorted(used - allowed)}: upward"


@pytest.mark.parametrize("room", PURE)
def test_rules_do_no_input_or_output(room: str) -> None:
    for path in (ROOT / room).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            used = {name.split(".")[0] for name in names} & IO_MODULES
            assert not used, f"{path.relative_to(ROOT)} imports {used}: a rule has no clock, no random, no socket"


def test_every_module_opens_with_the_rule_it_keeps() -> None:
    bare = [str(p.relative_to(ROOT)) for p in ROOT.rglob("*.py") if not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))]
    assert not bare


def test_every_file_stays_small_enough_to_read() -> None:
    files = [*ROOT.rglob("*.py"), *Path(__file__).parents[1].rglob("*.py")]
    long = {str(p): n for p in files if (n := len(p.read_text(encoding="utf-8").splitlines())) > 450}
    assert not long
