"""The pages hold together: every link leads somewhere, every page can be reached, every command line in them could be typed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from cyclopts import App

from walras.cli import app
from walras.market.registry import MECHANISMS

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])
LOOK_UP = ROOT / "docs" / "look-up" / "commands.md"
LINK = re.compile(r"\]\(([^)\s]+)\)")
LINE = re.compile(r"^(?: {4}|\$ |    \$ )walras ((?:.|\\\n)*)$", re.M)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def links(page: Path) -> list[tuple[Path, str]]:
    """The files that a page links to, and the heading in each."""
    found = [link.partition("#") for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    return [((page.parent / file).resolve() if file else page, heading) for file, _, heading in found]


def headings(page: Path) -> set[str]:
    """The anchors of a page."""
    said = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in said}


def parts(command: App) -> list[App]:
    """The command itself, or those below it."""
    below = [command[name] for name in command if not name.startswith("-")]
    return [found for one in below for found in parts(one)] if below else [command]


def options(command: App) -> set[str]:
    """All its options."""
    listed = [argument for part in parts(command) for argument in part.assemble_argument_collection()]
    return {name for argument in listed for name in argument.names if name.startswith("--")}


def own_options(command: App) -> set[str]:
    """Those that are not arguments by place."""
    listed = [argument for part in parts(command) for argument in part.assemble_argument_collection()]
    return {argument.names[0] for argument in listed if argument.field_info.kind.name == "KEYWORD_ONLY"}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, heading in links(page):
        assert target.exists(), target
        assert not heading or target.suffix != ".md" or heading in headings(target), (target, heading)


def test_every_page_can_be_reached_from_the_reading_order() -> None:
    reached, todo = set(), [ROOT / "docs" / "README.md"]
    while todo:
        page = todo.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            todo += [target for target, _ in links(page) if target.exists()]
    assert [name_of(page) for page in PAGES if page.resolve() not in reached and page.parent != ROOT] == []


@pytest.mark.parametrize("command", [name for name in app if not name.startswith("-") and name != "import"])
def test_every_option_is_on_the_page_beside_its_command(command: str) -> None:
    rows = [row for row in LOOK_UP.read_text(encoding="utf-8").splitlines() if row.startswith(f"| `walras {command} ")]
    said = set(re.findall(r"--[a-z-]+", " ".join(rows)))
    assert said - options(app[command]) == set()
    assert own_options(app[command]) - said == set()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_line_could_be_typed(page: Path) -> None:
    for line in LINE.findall(page.read_text(encoding="utf-8")):
        words = line.replace("\\\n", " ").split("#")[0].split("|")[0].split()
        if words[0].startswith("-"):
            assert words[0] in ("--help", "--version")
            continue
        command = app[words[0]]
        if len(parts(command)) > 1:
            command = command[words[1]]
        names = words[words.index("--mechanisms") + 1] if "--mechanisms" in words else "all"
        assert names == "all" or set(names.split(",")) <= {*MECHANISMS, "nodal"}, line
        given = {word.partition("=")[0] for word in words if re.fullmatch(r"--[a-z][a-z-]*(=.*)?", word)}
        assert given - options(command) == set(), line
