"""`walras report`: the page."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from walras.study.report import write_report


def report_command(run: Path, out: Path | None) -> None:
    """Write the page and say where."""
    page = out or run / "report.html"
    write_report(run, page)
    Console(soft_wrap=True, highlight=False).print(f"report: {page} ({page.stat().st_size / 1e6:.1f} MB, opens in any browser)")
