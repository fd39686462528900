"""`walras dispatch`: an order to a member's devices by somebody other than the owner, judged and recorded.

The order comes as a file of signed bytes (`metering.dispatch.sign_order`). What is allowed is an act in the journal before anything
is handed on, and so is what is refused.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from walras.commands.rights import opened_run
from walras.commands.terminal import say, screen
from walras.community import load_community
from walras.errors import Fault, InputError, JournalError
from walras.exchange.acts import Act, ActKind, consents
from walras.exchange.journal import Journal
from walras.metering.dispatch import Commanded, judge_order
from walras.metering.purposes import PURPOSES
from walras.service.appointment import appointment
from walras.service.data_protection import record
from walras.study.runner import COMMUNITY


def dispatch_command(
    run: Path, order: Path, secret: Path | None, now: datetime | None = None, roll: Path | None = None
) -> Commanded:
    """Judge the order in a file, record it, say what came of it; JournalError where it is refused.

    `roll` says who issues credentials and which devices are vouched for, where keys do not follow from the community's seed.
    """
    if not order.is_file():
        raise InputError("walras dispatch", [Fault(str(order), "file", "missing", "a signed order")])
    with opened_run(run, secret, "walras dispatch") as (journal, _):
        judged = _judged(journal, run, order.read_bytes(), now or datetime.now(UTC), roll)
    say(
        screen(),
        f"ordered by {judged.holder}: account {judged.account}, slots {judged.order.first_slot} to {judged.order.last_slot}, "
        f"{judged.order.power_w:,} W; recorded",
    )
    return judged


def _judged(journal: Journal, run: Path, encoded: bytes, now: datetime, roll: Path | None) -> Commanded:
    a = appointment(load_community(run / COMMUNITY), roll)
    entries = list(journal.entries())
    judged = judge_order(
        encoded,
        a.operator,
        a.meters.registry.index,
        lambda account: PURPOSES["dispatch"].name in consents(entries, account),
        a.community.grid,
        now,
    )
    if not isinstance(judged, Commanded):
        record(journal, run, Act(ActKind.DENIED, now, "unknown", None, {"purpose": "dispatch", "why": judged.value}))
        raise JournalError(f"the order is refused: {judged.value}; the refusal is recorded", thing=judged)
    o = judged.order
    detail: dict[str, Any] = {"first_slot": o.first_slot, "last_slot": o.last_slot, "power_w": o.power_w}
    record(journal, run, Act(ActKind.DISPATCHED, now, judged.holder, judged.account, detail))
    return judged
