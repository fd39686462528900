"""`walras network COMMUNITY --envelopes FAIRNESS`: how much each member may take and feed in so that any use is safe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import numpy as np
from rich.console import Console
from rich.table import Table

from walras.commands.terminal import say
from walras.community import Community
from walras.errors import Fault, InputError
from walras.grid.envelopes import Fairness
from walras.study.envelopes import DayEnvelopes, day_envelopes
from walras.units import Float64

FAIRNESS: tuple[Fairness, ...] = get_args(Fairness)


def read_fairness(name: str) -> Fairness:
    """One of `FAIRNESS`; InputError for another name."""
    for known in FAIRNESS:
        if name == known:
            return known
    raise InputError("walras network", [Fault("command line", "--envelopes", name, "one of " + ", ".join(FAIRNESS))])


def envelopes_command(console: Console, given: Community, fairness: Fairness, out: Path | None) -> None:
    """Print the envelopes of the community's day, the smallest and the largest of each member; write every slot where asked."""
    done = day_envelopes(given, given.slots, fairness)
    console.print()
    say(console, f"envelopes of {given.start}, {fairness}: any use within them keeps every limit")
    console.print(_table(given, done))
    say(console, "kW; the smallest and, where it differs, the largest of the day's slots beside the connection")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(_json(given, done, fairness), indent=1) + "\n", encoding="utf-8")
        say(console, f"every slot: {out}")


def _table(community: Community, done: DayEnvelopes) -> Table:
    table = Table(box=None, pad_edge=False)
    for head in ("member", "can take", "may take", "can feed in", "may feed in"):
        table.add_column(head, justify="left" if head == "member" else "right")
    for row, member in enumerate(community.members):
        caps = done.import_cap_kw[row], done.export_cap_kw[row]
        may = _span(done.import_kw[:, row]), _span(done.export_kw[:, row])
        table.add_row(member.id, f"{caps[0]:.2f}", may[0], f"{caps[1]:.2f}", may[1])
    return table


def _span(kw: Float64) -> str:
    """Rounded down: what is printed is safe too."""
    low, high = (np.floor(100 * float(end)) / 100 for end in (kw.min(), kw.max()))
    return f"{low:.2f}" if low == high else f"{low:.2f} to {high:.2f}"


def _json(community: Community, done: DayEnvelopes, fairness: str) -> dict[str, object]:
    """Whole watts, rounded down."""
    watts = {
        name: np.floor(1e3 * column).astype(np.int64)
        for name, column in (("import_w", done.import_kw), ("export_w", done.export_kw))
    }
    return {
        "fairness": fairness,
        "slots": [community.grid.start(slot).isoformat() for slot in done.slots],
        "members": {
            member.id: {name: column[:, row].tolist() for name, column in watts.items()}
            for row, member in enumerate(community.members)
        },
    }
