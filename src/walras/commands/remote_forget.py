"""`walras forget` at nodes that are not beside the run: gateway, oracles and balance oracle are told over the network.

Who asks shows the operator's credential to erase (`walras allow DID erase`); in a trial that is the operator, whose key follows
from the seed. Which node erased how much, and which did not, is an act; a node that was away is told by the same command again.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from walras.commands.nodes import parse_address, parse_peers
from walras.commands.options import clock_of
from walras.commands.run import BALANCE_CLOCK
from walras.commands.secrets import read_passphrase
from walras.errors import Fault, InputError, MeteringError
from walras.exchange.acts import Act, ActKind
from walras.metering import did_of
from walras.metering.access import Right, issue_access
from walras.metering.identity import Key
from walras.service.appointment import GATEWAY, Appointment, appointment
from walras.service.data_protection import record
from walras.service.erasure import Remote, Told, tell
from walras.service.keys import open_key
from walras.study.runner import OpenRun


@dataclass(frozen=True, slots=True)
class RemoteNodes:
    """Where the nodes listen (HOST:PORT; oracles by number, with commas), the clock they read; who asks, as for `walras edit`."""

    gateway: str | None = None
    oracles: str | None = None
    balance: str | None = None
    clock: Path | None = None
    key: str | None = None
    credential: Path | None = None
    passphrase: Path | None = None
    roll: Path | None = None


def tell_nodes(opened: OpenRun, run: Path, at: RemoteNodes, accounts: Collection[int], before: int) -> list[Told]:
    """Tell the nodes, and record what came of it. InputError where one is named that the community does not have."""
    assert opened.community is not None
    a = appointment(opened.community, at.roll)
    key, credential = _asking(a, at)
    told = tell(_remotes(a, at), key, credential, accounts, before)
    came = {one.node.name: "no" if one.gone is None else one.gone for one in told}
    detail = {"accounts": sorted(accounts), "nodes": came, **({"before_slot": before} if before else {})}
    now = datetime.now(UTC).replace(microsecond=0)
    record(opened.journal, run, Act(ActKind.ERASED_AT_NODES, now, did_of(key.public_key()), None, detail))
    return told


def away(run: Path, told: list[Told]) -> MeteringError:
    """Which nodes did not erase, and what to do about it."""
    missing = [one for one in told if one.gone is None]
    names = "; ".join(f"{one.node.name} at {one.node.host}:{one.node.port}: {one.why}" for one in missing)
    way = f"`walras forget {run}` with the same nodes tells them again, of everybody who was forgotten"
    return MeteringError(f"not erased at {names}; this is recorded", thing=missing, way_out=way)


def _remotes(a: Appointment, at: RemoteNodes) -> list[Remote]:
    clock, found, faults = clock_of(at.clock), [], []
    if at.gateway is not None:
        found.append(Remote("gateway", *parse_address(at.gateway, "--gateway"), GATEWAY, clock))
    peers = [] if at.oracles is None else parse_peers(at.oracles)
    if len(peers) > len(a.terms.oracles):
        faults.append(Fault("command line", "--oracles", at.oracles, f"at most {len(a.terms.oracles)}"))
    found += [Remote(p.name, p.host, p.port, name, clock) for p, name in zip(peers, a.terms.oracles, strict=False)]
    if at.balance is not None and a.terms.balance_oracle is None:
        faults.append(Fault("command line", "--balance", at.balance, 'none: the [metering] aggregation is not "masked"'))
    elif at.balance is not None and a.terms.balance_oracle is not None:
        own = None if at.clock is None else at.clock.with_name(at.clock.name + BALANCE_CLOCK)
        found.append(Remote("balance", *parse_address(at.balance, "--balance"), a.terms.balance_oracle, clock_of(own)))
    if faults:
        raise InputError("walras forget", faults)
    return found


def _asking(a: Appointment, at: RemoteNodes) -> tuple[Key, str]:
    """Whose key signs the requests, and the operator's credential for it."""
    if at.key is None and a.roll is None:
        grid, key = a.community.grid, a.operator_key
        until = max(grid.end(a.community.slot_count), datetime.now(UTC).replace(microsecond=0)) + timedelta(days=366)
        return key, issue_access(key, did_of(key.public_key()), [Right.ERASE], grid.origin, until)
    needed = {"--key": at.key, "--credential": at.credential}
    faults = [
        Fault("command line", name, None, "who may erase: `walras allow DID erase` writes the credential")
        for name, given in needed.items()
        if given is None
    ]
    if faults or at.key is None or at.credential is None:
        raise InputError("walras forget", faults)
    return open_key(at.key, read_passphrase(at.passphrase, "walras forget")), at.credential.read_text(encoding="ascii").strip()
