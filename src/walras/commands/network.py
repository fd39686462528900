"""`walras network`: a feeder in words, and as a picture."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from walras.commands.envelopes import envelopes_command
from walras.commands.terminal import say, screen
from walras.community import load_community, network, with_period
from walras.grid.envelopes import Fairness
from walras.grid.picture import describe_network, network_figure


@dataclass(frozen=True, slots=True)
class Envelopes:
    """By which fairness, of which local day (the file's first without one), and where every slot is written."""

    fairness: Fairness
    day: date | None
    out: Path | None


def network_command(community: Path, out: Path | None, envelopes: Envelopes | None = None) -> None:
    """Print a summary of the community's network; write its picture where asked; its envelopes where wanted."""
    console = screen()
    loaded = load_community(community)
    day = None if envelopes is None else with_period(loaded, start=envelopes.day, days=1)
    given = network(loaded)
    say(console, describe_network(given))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        network_figure(given).write_html(out, include_plotlyjs=True, full_html=True)
        say(console, f"picture: {out}")
    if envelopes is not None and day is not None:
        envelopes_command(console, day, envelopes.fairness, envelopes.out)
