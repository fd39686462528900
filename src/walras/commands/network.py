"""`walras network`: a feeder in words, and as a picture."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from walras.commands.envelopes import envelopes_command
from walras.community import load_community, network
from walras.errors import Fault, InputError
from walras.grid.picture import describe_network, network_figure


def network_command(
    community: Path, out: Path | None, envelopes: str | None = None, day: str | None = None, json: Path | None = None
) -> None:
    """Print a summary of the community's network; write its picture where asked; its envelopes where a fairness is named."""
    if envelopes is None and (day is not None or json is not None):
        name, value = ("--day", day) if day is not None else ("--json", str(json))
        raise InputError("walras network", [Fault("command line", name, value, "--envelopes beside it")])
    console = Console(soft_wrap=True, highlight=False)
    loaded = load_community(community)
    given = network(loaded)
    console.print(describe_network(given))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        network_figure(given).write_html(out, include_plotlyjs=True, full_html=True)
        console.print(f"picture: {out}")
    if envelopes is not None:
        envelopes_command(console, loaded, envelopes, day, json)
