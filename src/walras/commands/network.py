"""`walras network`: a feeder in words, and as a picture."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from walras.community import load_community, network
from walras.grid.picture import describe_network, network_figure


def network_command(community: Path, out: Path | None) -> None:
    """Print a summary of the community's network; write its picture where asked."""
    console = Console(soft_wrap=True, highlight=False)
    given = network(load_community(community))
    console.print(describe_network(given))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        network_figure(given).write_html(out, include_plotlyjs=True, full_html=True)
        console.print(f"picture: {out}")
