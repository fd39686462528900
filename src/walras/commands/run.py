"""`walras run`: progress while it trades, then what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from walras.commands.nodes import parse_address, parse_peers
from walras.commands.summary import summary_table
from walras.community import Community, load_community
from walras.service.appointment import Appointment, appointed_exchange, appointment
from walras.service.clocks import FileClock
from walras.service.gateway_node import Peer
from walras.service.remote_metering import Nodes, RemoteMetering
from walras.study.oracles import MeteringPath
from walras.study.runner import Appointed, Options, PathMaker, Run


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """Gateway, oracles (comma list, by number) and the file with the clock that they read."""

    gateway: str
    oracles: str
    clock: Path


@dataclass(frozen=True, slots=True)
class RollOptions:
    """The roll, the places of the keys, the secret that the ledger's keys follow from, and a passphrase for keys in files."""

    roll: Path
    keys: Path
    secret: bytes
    passphrase: bytes | None


def run_command(community: Path, out: Path, options: Options, nodes: NodeOptions | None, roll: RollOptions | None = None) -> None:
    """Run, print a summary, and as last line `journal: HEADHASH`."""
    console = Console(soft_wrap=True, highlight=False)
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as progress:
        progress.add_task("setting up", total=None)
        exchange: Appointment | None = None
        if roll is not None:
            exchange = appointed_exchange(load_community(community), roll.roll, roll.keys, roll.secret, roll.passphrase)
            options = replace(options, appointed=Appointed(exchange.meters, exchange.keys, exchange.exchanged_key))
        session = Run(community, out, options, None if nodes is None else _remote(nodes, exchange))
        progress.remove_task(progress.task_ids[0])
        terms = session.terms
        console.print(
            f"{terms.name}: {terms.members} members, {session.slots} slots of {terms.grid.minutes} minutes from "
            f"{terms.grid.local(terms.first):%Y-%m-%d}, cleared by {terms.mechanism}, settled {terms.rule.replace('_', ' ')}"
            + (", within the limits of the wires" if terms.wires is not None else "")
        )
        task = progress.add_task("trading", total=session.slots)
        for slot in session:
            progress.update(task, advance=1, description=f"trading {terms.grid.local(slot):%d %b %H:%M}")
    if session.resumed:
        console.print(f"went on after {session.resumed} entries that were in the journal already")
    summary_table(console, out)
    console.print(f"public record: {out / 'public.jsonl'}; check it with `walras audit {out}`")
    console.print(f"journal: {session.head}")


def _remote(nodes: NodeOptions, exchange: Appointment | None) -> PathMaker:
    """The metering path over the nodes, once the run knows the members' secrets."""

    def path(community: Community, secrets: Sequence[bytes]) -> MeteringPath:
        where = Nodes(Peer("gateway", *parse_address(nodes.gateway)), tuple(parse_peers(nodes.oracles)))
        return RemoteMetering(exchange or appointment(community), where, secrets, FileClock(nodes.clock))

    return path
