"""`walras run`: progress while it trades, then what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeRemainingColumn

from walras.commands.nodes import parse_address, parse_peers
from walras.commands.options import read_moment
from walras.commands.summary import summary_table
from walras.commands.terminal import progress, say, screen
from walras.community import Community, load_community
from walras.errors import Fault, InputError
from walras.service.appointment import Appointment, appointed_exchange, appointment
from walras.service.clocks import FileClock
from walras.service.gateway_node import Peer
from walras.service.remote_balance import RemoteBalance
from walras.service.remote_metering import Nodes, RemoteMetering
from walras.service.roll import identifiers_in
from walras.study.oracles import MeteringPath
from walras.study.runner import Appointed, Options, PathMaker, Run

BALANCE_CLOCK = ".balance"
"""Behind the name of the nodes' clock file: that of the balance oracle's."""


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """Gateway, oracles (comma list, by number), the file with the clock that they read, and the balance oracle."""

    gateway: str
    oracles: str
    clock: Path
    balance: str | None = None


@dataclass(frozen=True, slots=True)
class RollOptions:
    """The roll, the places of the keys, the secret that the ledger's keys follow from, and a passphrase for keys in files."""

    roll: Path
    keys: Path
    secret: bytes
    passphrase: bytes | None


def run_command(
    community: Path,
    out: Path,
    options: Options,
    nodes: NodeOptions | None,
    roll: RollOptions | None = None,
    until: str | None = None,
) -> None:
    """Run, print a summary, and as last line `journal: HEADHASH`. `until`: as `read_moment`, in place of that of the options."""
    console = screen()
    if until is not None:
        options = replace(options, until=read_moment(until, load_community(community).grid.timezone, "walras run", "--until"))
    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with progress(*columns) as bar:
        bar.add_task("setting up", total=None)
        exchange: Appointment | None = None
        if roll is not None:
            exchange = appointed_exchange(load_community(community), roll.roll, roll.keys, roll.secret, roll.passphrase)
            options = replace(options, appointed=Appointed(exchange.meters, exchange.keys, exchange.exchanged_key))
        a = None if nodes is None else exchange or appointment(load_community(community))
        balance = None if nodes is None or a is None else _remote_balance(nodes, a)
        session = Run(community, out, options, None if nodes is None else _remote(nodes, exchange, balance), balance)
        bar.remove_task(bar.task_ids[0])
        terms = session.terms
        say(
            console,
            f"{terms.name}: {terms.members} members, {session.slots} slots of {terms.grid.minutes} minutes from "
            f"{terms.grid.local(terms.first):%Y-%m-%d}, cleared by {terms.mechanism}, settled {terms.rule.replace('_', ' ')}"
            + (", within the limits of the wires" if terms.wires is not None else ""),
        )
        waiting = session.community.wires.waiting()
        if waiting:
            held = "does nothing" if len(waiting) == 1 else "do nothing"
            say(console, f"[wires] {', '.join(waiting)} {held} here: limits are only watched")
            say(console, '  way out: --mechanism nodal, or limits = "nodal" under [wires], makes them hold')
        task = bar.add_task("trading", total=session.slots)
        for slot in session:
            bar.update(task, advance=1, description=f"trading {terms.grid.local(slot):%d %b %H:%M}")
    if session.resumed:
        say(console, f"went on after {session.resumed} entries that were in the journal already")
    if not session.state.closed:
        say(console, "stopped as asked; the same command without --until goes on")
    summary_table(console, out)
    print(f"public record: {out / 'public.jsonl'}")
    print(f"check it with: walras audit {out}")
    print(f"journal: {session.head}")


def read_identifiers(path: Path, community: Path) -> dict[str, str]:
    """Names of devices on a chain by member, from a file; InputError with every fault in it."""
    return identifiers_in(path, [member.id for member in load_community(community).members])


def _remote_balance(nodes: NodeOptions, a: Appointment) -> RemoteBalance | None:
    """The path to the balance oracle; None without one. InputError where one is given that the community does not have."""
    if nodes.balance is None:
        return None
    if a.terms.balance_oracle is None:
        expected = 'none: its [metering] aggregation is not "masked"'
        raise InputError("walras run", [Fault("command line", "--balance", nodes.balance, expected)])
    own_clock = FileClock(nodes.clock.with_name(nodes.clock.name + BALANCE_CLOCK))
    return RemoteBalance(a, Peer("balance", *parse_address(nodes.balance, "--balance")), own_clock)


def _remote(nodes: NodeOptions, exchange: Appointment | None, balance: RemoteBalance | None) -> PathMaker:
    """The metering path over the nodes, once the run knows the members' secrets."""

    def path(community: Community, secrets: Sequence[bytes]) -> MeteringPath:
        where = Nodes(Peer("gateway", *parse_address(nodes.gateway, "--gateway")), tuple(parse_peers(nodes.oracles)))
        further = None if balance is None else lambda at: [balance.act(at)]
        return RemoteMetering(exchange or appointment(community), where, secrets, FileClock(nodes.clock), further)

    return path
