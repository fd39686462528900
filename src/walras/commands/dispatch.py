"""`walras dispatch`: an order to a member's devices by somebody other than the owner, judged and recorded; then the run heeds it.

The order comes as a file of signed bytes (`walras order` makes it). What is allowed is an act in the journal before anything
is handed on, and so is what is refused. A run under way takes the order from there when the next slot opens.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path

from walras.commands.rights import community_of, opened_run
from walras.commands.secrets import read_passphrase
from walras.commands.terminal import say, screen
from walras.community import load_community
from walras.errors import Fault, InputError, JournalError
from walras.exchange.acts import Act, ActKind, consents
from walras.exchange.fold import ACT
from walras.exchange.ordered import Commands, after_act
from walras.exchange.parts import ordered_private
from walras.exchange.phases import EventKind
from walras.metering import did_of, key_id, public_key_of
from walras.metering.access import Right, issue_access
from walras.metering.dispatch import Commanded, DispatchOrder, judge_order, open_order, order_to_public, sign_order
from walras.metering.identity import Key
from walras.metering.purposes import PURPOSES
from walras.service.appointment import appointment
from walras.service.data_protection import record
from walras.service.keys import open_key
from walras.study.meters import access_issuer, run_seed
from walras.study.runner import OpenRun

SEED = "seed:"


def dispatch_command(run: Path, order: Path, secret: Path | None, now: datetime, roll: Path | None = None) -> Commanded:
    """Judge the order in a file, record it, say what came of it; JournalError where it is refused.

    `roll` says who issues credentials and which devices are vouched for, where keys do not follow from the community's seed.
    """
    if not order.is_file():
        raise InputError("walras dispatch", [Fault(str(order), "file", "missing", "a signed order")])
    with opened_run(run, secret, "walras dispatch") as opened:
        judged, slot = _judged(opened, run, order.read_bytes(), now, roll)
    o = judged.order
    out = screen()
    say(
        out,
        f"ordered by {judged.holder}: account {judged.account}, slots {o.first_slot} to {o.last_slot}, {_in_words(o)}; recorded",
    )
    if slot is not None and slot >= o.first_slot:
        left = "none of its slots is still to open" if slot >= o.last_slot else f"it binds from slot {slot + 1} on"
        say(out, f"slot {slot} has opened already: {left}")
    return judged


def revoke_command(run: Path, holder: str, secret: Path | None, now: datetime) -> None:
    """Record that the credential of `holder` (DID) is revoked: its orders end, and no more are accepted."""
    public_key_of(holder)
    with opened_run(run, secret, "walras dispatch") as opened:
        record(opened.journal, run, Act(ActKind.REVOKED, now, opened.by, None, {"holder": holder}))
    say(screen(), f"revoked: {holder}; its orders bind no slot that is still to open; recorded")


def _in_words(o: DispatchOrder) -> str:
    if o.low_w == o.high_w:
        return "all bounds taken back" if o.low_w is None else f"at {o.low_w:,} W"
    low = "" if o.low_w is None else f"at least {o.low_w:,} W"
    return " and ".join(part for part in (low, "" if o.high_w is None else f"at most {o.high_w:,} W") if part)


def _judged(opened: OpenRun, run: Path, encoded: bytes, now: datetime, roll: Path | None) -> tuple[Commanded, int | None]:
    """The order, recorded, and the last slot that had opened by then."""
    a, journal = appointment(community_of(opened), roll), opened.journal
    entries = list(journal.entries())
    commands = Commands()
    for entry in entries:
        commands = after_act(commands, entry.seq, entry.public) if entry.kind == ACT else commands
    purpose = PURPOSES["dispatch"].name
    meters = a.meters.registry.index
    judged = judge_order(
        encoded, a.operator, meters, lambda account: purpose in consents(entries, account), a.community.grid, now, commands.revoked
    )
    if not isinstance(judged, Commanded):
        denied = {"purpose": "dispatch", "why": judged.value, "order": sha256(encoded).hexdigest()}
        asked = open_order(encoded, a.operator, now)
        by, account = (asked[0].holder, meters.get(asked[1].meter)) if isinstance(asked, tuple) else ("unknown", None)
        record(journal, run, Act(ActKind.DENIED, now, by, account, denied))
        raise JournalError(f"the order is refused: {judged.value}; the refusal is recorded", thing=judged)
    detail = order_to_public(judged.asked, judged.order, encoded)
    act = Act(ActKind.DISPATCHED, now, judged.holder, judged.account, detail)
    record(journal, run, act, ordered_private(judged.account, encoded))
    slots = (entry.slot for entry in reversed(entries) if entry.kind == EventKind.SLOT_OPENED.value)
    return judged, next(slots, None)


def allow_command(holder: str, right: str, operator: str, out: Path, days: int, now: datetime, passphrase: Path | None) -> None:
    """Write the operator's credential that gives `holder` (DID) a right for so many days."""
    known = [one.name.lower() for one in (Right.DISPATCH, Right.LIMIT, Right.EDIT, Right.ERASE)]
    faults = [Fault("command line", "--right", right, " or ".join(known))] if right not in known else []
    faults += [Fault("command line", "--days", days, "1 or more")] if days < 1 else []
    if faults:
        raise InputError("walras allow", faults)
    key = _operator_key(operator, passphrase)
    since = now.replace(microsecond=0)
    until = since + timedelta(days=days)
    out.write_text(issue_access(key, holder, [Right[right.upper()]], since, until) + "\n", encoding="ascii")
    say(
        screen(),
        f"{holder} may {right} until {until:%Y-%m-%d %H:%M} UTC, says {did_of(key.public_key())}: {out}",
    )


def _operator_key(place: str, passphrase: Path | None) -> Key:
    """The key at a place, or the one that follows from the seed of a community file."""
    if place.startswith(SEED):
        return access_issuer(run_seed(load_community(Path(place.removeprefix(SEED)))))
    return open_key(place, read_passphrase(passphrase, "walras allow"))


def order_command(
    community: Path,
    member: str,
    spans: tuple[datetime, datetime],
    watts: tuple[int | None, int | None],
    holder: tuple[str, Path | None],
    credential: Path,
    right: str,
    out: Path,
    now: datetime,
    roll: Path | None,
) -> None:
    """Sign an order for the slots from one moment until another (both aware), least and most net power, and write it."""
    c = load_community(community)
    ids = [m.id for m in c.members]
    faults = [Fault("command line", "MEMBER", member, f"one of {', '.join(ids[:8])} …")] if member not in ids else []
    if spans[0] >= spans[1]:
        faults.append(Fault("command line", "--until", str(spans[1]), f"later than {spans[0]}"))
    if right not in ("dispatch", "limit"):
        faults.append(Fault("command line", "--right", right, "dispatch or limit"))
    if faults:
        raise InputError("walras order", faults)
    a = appointment(c, roll)
    meter = key_id(a.meters.registry.keys[ids.index(member)])
    first, after = (c.grid.slot_at(moment) for moment in spans)
    last = after - 1 if c.grid.start(after) == spans[1] else after
    key = open_key(holder[0], read_passphrase(holder[1], "walras order"))
    order = DispatchOrder(meter, first, last, *watts)
    out.write_bytes(sign_order(key, credential.read_text(encoding="ascii").strip(), order, now, Right[right.upper()]))
    say(
        screen(),
        f"{member}, slots {first} to {last}, {_in_words(order)}: {out}, to be given within five minutes",
    )
