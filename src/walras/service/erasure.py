"""Members' personal data erased at a node that is asked to over the network, by who holds the operator's credential for it.

A request (`access`, right ERASE) names accounts and a slot: the readings of those accounts go, and all of slots before that one;
the node overwrites what it deleted, and answers with how much went. Asked again it finds nothing more: to repeat does no harm, and
everybody who was ever forgotten is named each time, so a node that was away is told by the next command. A gateway with readings on
their way to an oracle says so and erases nothing yet: sent again without them, the batch would be another under its number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import cbor2

from walras.errors import MeteringError
from walras.metering.access import Right, sign_request
from walras.metering.identity import Key
from walras.metering.strict_cbor import loads_strict
from walras.service.frames import REQUEST, ask

PATIENCE_S = 30.0
MAX_ACCOUNTS = 100_000


class Erasable(Protocol):
    """A store that can forget a member, and what is older than a slot; each gives how much went."""

    def forget(self, account: int) -> int:
        """What is kept of the account."""

    def erase_before(self, slot: int) -> int:
        """What is kept of slots before `slot`."""


def erased(body: bytes, store: Erasable) -> bytes:
    """Do what a request's body asks; the answer, 8 bytes. MeteringError for what is no such request, or cannot be done yet."""
    match loads_strict(body):
        case [list() as accounts, int() as slot] if (
            len(accounts) <= MAX_ACCOUNTS and slot >= 0 and all(type(one) is int and one >= 0 for one in accounts)
        ):
            gone = sum(store.forget(account) for account in accounts) + (store.erase_before(slot) if slot else 0)
            return gone.to_bytes(8, "big")
    raise MeteringError("accounts and a slot were expected", thing=Right.ERASE)


@dataclass(frozen=True, slots=True)
class Remote:
    """A node to be told: what it is called, where it listens, the name that requests to it are made for, and its clock."""

    name: str
    host: str
    port: int
    audience: str
    clock: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class Told:
    """What came of it: how much went, or None and why it did not."""

    node: Remote
    gone: int | None
    why: str = ""


def tell(nodes: Sequence[Remote], key: Key, credential: str, accounts: Collection[int], before: int) -> list[Told]:
    """Ask every node to erase `accounts`, and what is before the slot `before` (0: nothing); what came of it, in their order."""
    body = cbor2.dumps([sorted(accounts), before])

    async def all_told() -> list[Told]:
        return list(await asyncio.gather(*(_one(node, key, credential, body) for node in nodes)))

    return asyncio.run(all_told())


async def _one(node: Remote, key: Key, credential: str, body: bytes) -> Told:
    try:
        request = sign_request(key, credential, Right.ERASE, node.audience, body, node.clock())
        answer = await ask(node.host, node.port, REQUEST, request, 64, PATIENCE_S)
    except (OSError, TimeoutError) as cause:
        return Told(node, None, f"not reached: {cause.strerror if isinstance(cause, OSError) and cause.strerror else 'no answer'}")
    except MeteringError as refused:
        return Told(node, None, refused.message)
    return Told(node, int.from_bytes(answer, "big"))
