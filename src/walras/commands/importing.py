"""`walras import`: grids from elsewhere into a community file and a compact data file."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from walras.community.simbench import import_simbench


def simbench_command(code: str, out: Path) -> None:
    """Write CODE's two files into `out` and say what was found."""
    console = Console(soft_wrap=True, highlight=False)
    imported = import_simbench(code, out)
    devices = sum(len(member.loads) + len(member.pv) + (member.battery is not None) for member in imported.members)
    console.print(f"community file: {imported.community_file} ({len(imported.members)} members, {devices} devices)")
    console.print(f"data file:      {imported.data_file} ({imported.data_file.stat().st_size / 1e6:.1f} MB)")
    console.print(f"run it: walras run {imported.community_file} --out runs/{imported.community_file.stem}")
