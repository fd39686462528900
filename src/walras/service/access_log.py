"""The log of requests that a node keeps, asked for by who may, and its place in the journal.

Every request to an oracle or to the gateway is logged there: when, by whom, which right, for which slot, answered or refused; and
at an oracle from when on how many keys are revoked (`Heeded`). When a run is over the exchange asks each node for its log and
writes one act a node: how often whom was answered what, and the digest of the log's rows, so a log that is changed afterwards does
not fit the journal any more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Protocol

import cbor2

from walras.errors import MeteringError
from walras.exchange.acts import Act, ActKind
from walras.metering.access import AccessRefusal, Allowed, Right, open_request
from walras.metering.identity import PublicKey
from walras.metering.refusals import Refusal
from walras.service.reading_store import UNKNOWN_SLOT

UNKNOWN = "unknown"
REVOKED = "REVOKED"
"""In place of a right: whose keys do not count from that moment on; in place of a holder stands how many they are."""


class AccessStore(Protocol):
    """Where a node keeps its log of requests, and what it refused by reason."""

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing; committed to disk when the block ends."""

    def note_access(self, at: str, holder: str, right: str, slot: int, allowed: bool) -> None:
        """One row."""

    def accesses(self) -> list[tuple[str, str, str, int, bool]]:
        """All rows."""

    def refused_counts(self) -> dict[int, int]:
        """Readings refused, by reason."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Who issues access credentials to this node, and the name that requests must be made for."""

    issuer: PublicKey
    audience: str


def judged(guard: Guard, body: bytes, store: AccessStore, clock: Callable[[], datetime]) -> Allowed:
    """The request, if it holds; else MeteringError, and the refusal is in the log. Who answers it logs that (`note`)."""
    now = clock()
    asked = open_request(body, guard.issuer, guard.audience, now)
    if isinstance(asked, AccessRefusal):
        note(store, now, UNKNOWN, asked.name, UNKNOWN_SLOT, False)
        raise MeteringError(asked.value, thing=asked)
    return asked


def note(store: AccessStore, now: datetime, holder: str, right: str, slot: int, allowed: bool) -> None:
    """One row of the log, on disk before the answer goes."""
    with store.transaction():
        store.note_access(now.isoformat(timespec="seconds"), holder, right, slot, allowed)


class Heeded:
    """Whose keys are revoked now, as `ask` has it. Where they are more or fewer than this node last knew, its log says so once: to
    revoke is the operator's act, or that of an identifier's owner, and those who must heed it put it on record."""

    def __init__(self, ask: Callable[[datetime], Collection[bytes]], store: AccessStore) -> None:
        self._ask, self._store = ask, store
        heeded = (holder for _, holder, right, *_ in reversed(store.accesses()) if right == REVOKED)
        self._said = next(heeded, "0 keys")

    def __call__(self, now: datetime) -> frozenset[bytes]:
        """MeteringError where it cannot be known."""
        revoked = frozenset(self._ask(now))
        said = f"{len(revoked)} keys"
        if said != self._said:
            note(self._store, now, said, REVOKED, UNKNOWN_SLOT, True)
            self._said = said
        return revoked


def log_of(store: AccessStore, aside: Sequence[tuple[str, int, int, str]] = ()) -> bytes:
    """CBOR: the log's rows but for requests of the log itself, and the readings this node ever refused, by reason.

    A gateway adds which oracle refuses which of its batches for good: its name, the number, how many readings, why.
    """
    rows = [list(row) for row in store.accesses() if row[2] != Right.LOG.name]
    return cbor2.dumps([rows, store.refused_counts(), *([[list(one) for one in aside]] if aside else [])])


def act_of_log(node: str, log: bytes, at: datetime) -> Act:
    """What the journal says of a node's log; MeteringError for what is none."""
    try:
        rows, refused, *further = cbor2.loads(log)
        aside = [[str(peer), int(batch), int(count), str(why)] for peer, batch, count, why in (further[0] if further else ())]
        counts = Counter((holder, right, bool(allowed)) for _, holder, right, _, allowed in rows)
        reasons = {Refusal(reason).name.lower() if reason in set(Refusal) else str(reason): n for reason, n in refused.items()}
    except (cbor2.CBORDecodeError, ValueError, TypeError) as cause:
        raise MeteringError(f"{node}: not a log of requests: {cause}", thing=node) from cause
    detail: dict[str, Any] = {
        "requests": [[*key[:2], "answered" if key[2] else "refused", count] for key, count in sorted(counts.items())],
        "readings_refused": reasons,
        "log": sha256(cbor2.dumps(rows)).hexdigest(),
        **({"batches_set_aside": aside} if aside else {}),
    }
    return Act(ActKind.ASKED, at, node, None, detail)


def act_of(node: str, log: bytes | None, at: datetime) -> Act:
    """As `act_of_log`; where the node is silent (None) or says something else, the act says that."""
    try:
        return Act(ActKind.ASKED, at, node, None, {"log": "no answer"}) if log is None else act_of_log(node, log, at)
    except MeteringError:
        return Act(ActKind.ASKED, at, node, None, {"log": "not a log"})
