"""`walras admit`: somebody other than the operator may open a run's folder, for one right and a time; a member, what is their own.

The operator's credential and the folder's key, in an envelope that only the holder's key opens, go into the folder
(`exchange.folder`); that they do is an act in the journal first.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from walras.commands.options import check_days
from walras.commands.rights import opened_run
from walras.commands.terminal import say, screen
from walras.errors import Fault, InputError
from walras.exchange.acts import Act, ActKind
from walras.exchange.folder import RIGHTS, admit, admitted, dismiss
from walras.exchange.journal import Journal
from walras.exchange.parts import holder_private
from walras.exchange.sealed import MemberKeys
from walras.metering import public_key_of
from walras.metering.access import Right
from walras.service.data_protection import account_of, record
from walras.study.runner import OpenRun


def admit_command(run: Path, holder: str, right: str | None, member: str | None, days: int, end: bool, opener: Path | None) -> None:
    """Admit `holder` (DID), or with `end` take that back; InputError for what is no right, or no member's own."""
    known = {one.name.lower(): one for one in RIGHTS}
    own = Right.OWN.name.lower()
    faults = []
    if (right is None) != end or (right is not None and right not in known):
        faults.append(Fault("command line", "RIGHT", right, " or ".join(known) + ", or --end"))
    if (member is not None) != (right == own):
        faults.append(Fault("command line", "--member", member, f"a member's id with the right {own}, and with no other"))
    if faults:
        raise InputError("walras admit", faults)
    check_days("walras admit", "--days", days, 1)
    public_key_of(holder)
    now = datetime.now(UTC).replace(microsecond=0)
    with opened_run(run, opener, "walras admit") as opened:
        journal = opened.journal
        if right is None:
            _end(opened, run, holder, now)
            return
        account, keys = (None, {}) if member is None else _own(journal, member)
        until = now + timedelta(days=days)
        detail = {"right": right, "until": until.isoformat()}
        _record(opened, run, Act(ActKind.ADMITTED, now, opened.by, account, detail), holder)
        admit(run, opened.access, holder, known[right], (now, until), keys)
    say(screen(), f"{holder} may {known[right].value}, until {until:%Y-%m-%d %H:%M} UTC; recorded")


def _end(opened: OpenRun, run: Path, holder: str, now: datetime) -> None:
    assert opened.master is not None
    known = {one.did: one.account for one in admitted(run, opened.master)}
    if holder not in known:  # not on record: a member's own key that was ended before would stand there in clear
        say(screen(), f"{holder} was not admitted")
        return
    _record(opened, run, Act(ActKind.DISMISSED, now, opened.by, known[holder], {}), holder)
    dismiss(run, opened.master, holder)
    say(screen(), f"{holder} may open it no more; a copy that they made before opens as it did; recorded")


def _record(opened: OpenRun, run: Path, act: Act, holder: str) -> None:
    """The act, with the holder's DID: for a member's own key in the member's sealed part, for anybody else in public."""
    if act.account is None:
        record(opened.journal, run, replace(act, detail={"holder": holder, **(act.detail or {})}))
    else:
        record(opened.journal, run, act, holder_private(act.account, holder))


def _own(journal: Journal, member: str) -> tuple[int, dict[int, MemberKeys]]:
    account = account_of(list(journal.entries()), member)
    return account, {account: journal.member_keys(account)}
