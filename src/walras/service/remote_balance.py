"""`study.masked.BalancePath` over sockets: from the meters to a balance oracle that is a process of its own.

In a replay it moves a clock of the oracle's own, never past a time for which it still has something to send: the other nodes'
follows the readings as they arrive, and a round has its times between them. An oracle that is away is waited for, as others are;
when the patience ends the slot goes on without a word on its masked sum.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from time import monotonic, sleep
from typing import Any, TypeVar

import cbor2

from walras.errors import MeteringError
from walras.exchange.acts import Act
from walras.ledger import LedgerAddresses
from walras.metering import Rules
from walras.metering.access import Right, sign_request
from walras.metering.balance_oracle import taken_until
from walras.metering.masked import Kind, MaskedWord, word_from_public
from walras.metering.strict_cbor import loads_strict
from walras.service.access_log import act_of
from walras.service.appointment import Appointment
from walras.service.balance_node import CONTRIBUTORS, JOINS, OPENINGS
from walras.service.clocks import FileClock
from walras.service.frames import HUNG, MASKED, READINGS, REQUEST, TOLD, ask
from walras.service.gateway_node import PATIENCE_S, Peer
from walras.service.remote_metering import MAX_REPORT, PAUSE_S, UNREACHABLE

NODE = "balance oracle"
CHUNK = 200
"""Messages in a frame: an opening is about a kilobyte."""

Answer = TypeVar("Answer")


class RemoteBalance:
    """The path to the balance oracle at `peer`. `patience_s`: how long it is waited for in one slot."""

    def __init__(self, appointment: Appointment, peer: Peer, clock: FileClock, patience_s: float = 120.0) -> None:
        self._a, self._peer, self._clock, self._patience_s = appointment, peer, clock, patience_s
        self._rules = Rules(appointment.community.grid, deadline=timedelta(seconds=appointment.terms.metering_deadline_s))
        self._given_up: int | None = None

    def join(self, messages: Sequence[bytes]) -> list[bytes] | None:
        """As `BalancePath.join`."""
        return None if self._tried(None, lambda: self._sent(messages)) is None else self._tried(None, lambda: self._told(JOINS, 0))

    def hang(self, record: bytes) -> list[bytes] | None:
        """As `BalancePath.hang`."""
        return self._tried(None, lambda: _list_in(self._ask(HUNG, record), bytes))

    def open(self, slot: int, messages: Sequence[bytes], transformer: bytes) -> list[bytes] | None:
        """As `BalancePath.open`."""
        self._clock.move(taken_until(self._rules, slot, Kind.OPENING))
        if self._tried(slot, lambda: self._sent(messages) and self._ask(READINGS, cbor2.dumps([transformer]))) is None:
            return None
        self._pass(slot, Kind.OPENING)
        return self._tried(slot, lambda: self._told(OPENINGS, slot))

    def contribute(self, slot: int, messages: Sequence[bytes]) -> tuple[int, ...] | None:
        """As `BalancePath.contribute`."""
        if self._tried(slot, lambda: self._sent(messages)) is None:
            return None
        self._pass(slot, Kind.CONTRIBUTION)
        told = self._tried(slot, lambda: self._told(CONTRIBUTORS, slot))
        return None if told is None else tuple(int(device) for device in told)

    def reveal(self, slot: int, messages: Sequence[bytes]) -> None:
        """As `BalancePath.reveal`."""
        self._tried(slot, lambda: self._sent(messages))

    def word(self, slot: int, addresses: LedgerAddresses) -> tuple[MaskedWord, bytes] | None:
        """As `BalancePath.word`."""
        self._pass(slot, Kind.REVEAL)
        return self._tried(slot, lambda: _spoken(slot, self._request(Right.VOTE, slot)))

    def contributions(self, slot: int) -> list[bytes] | None:
        """As `BalancePath.contributions`."""
        return self._tried(slot, lambda: _list_in(self._request(Right.READ, slot), bytes))

    def act(self, at: datetime) -> Act:
        """The oracle's log of requests, for the record when the run is over; that it is silent, where it does not answer."""
        self._clock.move(at)
        log = self._tried(None, lambda: self._request(Right.LOG, 0))
        return act_of(NODE, log, at)

    def _pass(self, slot: int, kind: Kind) -> None:
        self._clock.move(taken_until(self._rules, slot, kind) + timedelta(seconds=1))

    def _sent(self, messages: Sequence[bytes]) -> bool:
        """Hand on; what is refused (too late, another than before) is a dropout's, and the sum shows it."""
        for at in range(0, len(messages), CHUNK):
            self._ask(MASKED, cbor2.dumps(list(messages[at : at + CHUNK])))
        return True

    def _told(self, what: int, slot: int) -> list[Any]:
        return _list_in(self._ask(TOLD, cbor2.dumps([what, slot])), int if what == CONTRIBUTORS else bytes)

    def _request(self, right: Right, slot: int) -> bytes:
        assert self._a.terms.balance_oracle is not None
        body, credential = slot.to_bytes(8, "big"), self._a.exchange_credential
        request = sign_request(self._a.exchange_key, credential, right, self._a.terms.balance_oracle, body, self._clock())
        return self._ask(REQUEST, request)

    def _ask(self, kind: bytes, body: bytes) -> bytes:
        return asyncio.run(ask(self._peer.host, self._peer.port, kind, body, MAX_REPORT, PATIENCE_S))

    def _tried(self, slot: int | None, what: Callable[[], Answer]) -> Answer | None:
        """Try after try until the patience ends; then None, and for this slot at once from then on."""
        end = monotonic() + self._patience_s
        while monotonic() < end and (slot is None or slot != self._given_up):
            try:
                return what()
            except UNREACHABLE:
                sleep(PAUSE_S)
        self._given_up = slot
        return None


def _list_in(answer: bytes, kind: type) -> list[Any]:
    """The list that an answer is; MeteringError for anything else: no answer, then."""
    value = loads_strict(answer)
    if not isinstance(value, list) or not all(type(one) is kind for one in value):
        raise MeteringError("the balance oracle answers with something else than was asked for", thing=NODE)
    return value


def _spoken(slot: int, answer: bytes) -> tuple[MaskedWord, bytes]:
    """The word and its signature; MeteringError for anything else."""
    value = loads_strict(answer)
    if not isinstance(value, list) or len(value) != 2 or not (isinstance(value[0], dict) and isinstance(value[1], bytes)):
        raise MeteringError("the balance oracle answers with something else than its word", thing=NODE)
    return word_from_public(slot, value[0]), value[1]
