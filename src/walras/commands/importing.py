"""`walras import`: grids from elsewhere into a community file and a compact data file."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from walras.commands.terminal import say, screen
from walras.community.cgmes_file import read_cgmes
from walras.community.foreign import ForeignGrid
from walras.community.foreign_community import write_foreign
from walras.community.opendss_file import read_opendss
from walras.community.pandapower_file import read_pandapower
from walras.community.simbench import Imported, import_simbench


def simbench_command(code: str, out: Path) -> None:
    """Write CODE's two files into `out` and say what was found."""
    console = screen()
    _say(console, import_simbench(code, out))


def pandapower_command(file: Path, out: Path, profiles: str) -> None:
    """A network of pandapower."""
    _bring(read_pandapower(file), f"pandapower {file.name}", out, profiles)


def opendss_command(file: Path, out: Path, profiles: str) -> None:
    """A circuit of OpenDSS."""
    _bring(read_opendss(file), f"opendss {file.name}", out, profiles)


def cgmes_command(files: list[Path], out: Path, profiles: str) -> None:
    """A model in CGMES files."""
    _bring(read_cgmes(files), "cgmes " + " ".join(file.name for file in files), out, profiles)


def _bring(grid: ForeignGrid, command: str, out: Path, profiles: str) -> None:
    console = screen()
    imported, full = write_foreign(grid, out, command=command, shapes=profiles)
    say(console, f"{full.network}: {len(full.findings)} findings")
    for finding in full.findings:
        say(console, f"  {finding}")
    _say(console, imported)


def _say(console: Console, imported: Imported) -> None:
    devices = sum(len(member.loads) + len(member.pv) + (member.battery is not None) for member in imported.members)
    say(console, f"community file: {imported.community_file} ({len(imported.members)} members, {devices} devices)")
    say(console, f"data file:      {imported.data_file} ({imported.data_file.stat().st_size / 1e6:.1f} MB)")
    print(f"run it: walras run {imported.community_file} --out runs/{imported.community_file.stem}")
