"""What others ordered of members' devices, and what the meters then showed, in words: one line an account.

Compared is net energy as it was settled: where a slot stands on a substitute, so does the comparison. An order on a member that
needs more than its battery and its solar plant can give is not kept, and nobody is to blame; the line says by how much.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from walras.exchange.fold import ACT
from walras.exchange.journal import Entry
from walras.exchange.ordered import Outcome
from walras.slots import SlotGrid
from walras.units import format_energy

DISPATCHED = "dispatched"


def holders_of(entries: Iterable[Entry]) -> dict[int, str]:
    """Who ordered, and by which right, by the entry of each accepted order."""
    acts = [entry for entry in entries if entry.kind == ACT and entry.public["act"] == DISPATCHED]
    return {entry.seq: f"{entry.public['by']} ({entry.public['detail']['right'].lower()})" for entry in acts}


def ordered_rows(
    outcomes: Sequence[Outcome], holders: Mapping[int, str], grid: SlotGrid, name: Callable[[int], str]
) -> list[tuple[str, str]]:
    """A row an account with orders: its name, and in how many slots its meter kept them."""
    by_account: dict[int, list[Outcome]] = {}
    for outcome in outcomes:
        by_account.setdefault(outcome.order.account, []).append(outcome)
    return [(f"orders to {name(account)}", _line(mine, holders, grid)) for account, mine in sorted(by_account.items())]


def _line(mine: Sequence[Outcome], holders: Mapping[int, str], grid: SlotGrid) -> str:
    who = ", ".join(dict.fromkeys(holders[seq] for outcome in mine for seq in outcome.order.orders))
    broken = [outcome for outcome in mine if outcome.beyond_wh]
    if not broken:
        return f"{len(mine)} slots, kept in all; by {who}"
    worst = max(broken, key=lambda outcome: abs(outcome.beyond_wh))
    total = sum(abs(outcome.beyond_wh) for outcome in broken)
    verb = "taken too much" if worst.beyond_wh > 0 else "fed in too much"
    return (
        f"{len(mine)} slots, not kept in {len(broken)}: {format_energy(total, 2)} beyond in all, most "
        f"{format_energy(abs(worst.beyond_wh), 2)} {verb} at {grid.local(worst.slot):%d %b %H:%M}; by {who}"
    )
