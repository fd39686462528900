"""The line index finds every value of any community-shaped file on the line where it was written."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from community_base import BASE
from walras.community.lines import LineIndex

VALUES = st.sampled_from(["1", '"a # [b] = {c"', "'x = ]'", "2016-01-01", "[1, 2]", '["[", "{"]', "{ p = 1, q = [ { r = 2 } ] }"])
NAMES = st.sampled_from(["a", "b", "c-1", "d_2"])


@st.composite
def files(draw: st.DrawFn) -> tuple[str, dict[tuple[str | int, ...], int]]:
    """A text, and the line of each path that was written."""
    lines: list[str] = []
    where: dict[tuple[str | int, ...], int] = {}
    for count in range(draw(st.integers(0, 5))):
        lines += [""] * draw(st.integers(0, 2)) + ["# [x]", "# y = 1"] * draw(st.integers(0, 1))
        lines.append("[[m]]  # a comment ]]")
        table: tuple[str | int, ...] = ("m", count)
        where[table] = len(lines)
        for name in draw(st.lists(NAMES, unique=True, max_size=3)):
            lines.append(f"{name} = {draw(VALUES)}  # = {{")
            where[*table, name] = len(lines)
        if draw(st.booleans()):
            lines.append("list = [")
            where[*table, "list"] = len(lines)
            for k in range(draw(st.integers(0, 3))):
                lines += ["  # { none"] * draw(st.integers(0, 1))
                lines.append(f"  {{ v = {draw(VALUES)} }},")
                where[*table, "list", k] = len(lines)
            lines.append("]")
    return "\n".join(lines) + "\n", where


@settings(max_examples=150, deadline=None)
@given(files())
def test_every_path_is_found_on_its_line(case: tuple[str, dict[tuple[str | int, ...], int]]) -> None:
    text, where = case
    tomllib.loads(text)
    index = LineIndex(text)
    for path, line in where.items():
        assert index.line(path) == line
        assert index.line((*path, "unheard-of")) == line


def walk(value: Any, path: tuple[str | int, ...]) -> list[tuple[tuple[str | int, ...], Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(path, value), *(found for key, below in inner for found in walk(below, (*path, key)))]


def test_in_a_whole_community_file_every_value_is_on_its_line() -> None:
    index = LineIndex(BASE)
    rows = BASE.splitlines()
    for path, value in walk(tomllib.loads(BASE), ()):
        if path and isinstance(path[-1], str) and isinstance(value, str | int | float):
            line = index.line(path)
            assert line is not None
            assert path[-1] in rows[line - 1]
            assert str(value).lower().removesuffix(".0") in rows[line - 1].lower()
