"""The command line of members on a chain: leave, and certificates. Parses and calls."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from cyclopts import App

group = App()
certificate = App(name="certificate", help="Certificates of energy given to neighbours: issue, retire with a receipt, check one.")
group.command(certificate)


@group.command(name="exit")
def exit_(
    run: Path,
    *,
    chain: str,
    key: Path | None = None,
    member: str | None = None,
    amount: str | None = None,
) -> None:
    """Take out what is a member's own, step by step; from a silent operator's batches by a Merkle proof. Repeat until it is paid.

    Parameters
    ----------
    run
        The run's public record (public.jsonl), or the folder that it is in.
    chain
        JSON-RPC address of a node of the chain that it settles on.
    key
        File with 64 hex digits: the member's own Ethereum key.
    member
        Instead, in a trial: the member's id, whose key follows from the community's seed.
    amount
        Not everything: so many currency units.
    """
    from walras.commands.leave import exit_command

    exit_command(run, chain, member, key, amount)


@certificate.command
def issue(run: Path, *, chain: str, manifest: Path, day: str, key: Path | None = None, member: str | None = None) -> None:
    """Issue certificates for what a member gave to others on a day, of all slots that are final.

    Parameters
    ----------
    run
        The run's public record (public.jsonl), or the folder that it is in.
    chain
        JSON-RPC address of a node of the chain that it settles on.
    manifest
        Of `walras deploy`: where EnergyCertificates is looked up.
    day
        Local day, YYYY-MM-DD.
    key
        File with 64 hex digits: the member's own Ethereum key.
    member
        Instead, in a trial: the member's id, whose key follows from the community's seed.
    """
    from walras.commands.certificate import issue_command

    issue_command(run, chain, manifest, _day(day), member, key)


@certificate.command
def retire(
    run: Path,
    *,
    chain: str,
    manifest: Path,
    day: str,
    beneficiary: str,
    out: Path | None = None,
    key: Path | None = None,
    member: str | None = None,
) -> None:
    """Burn a member's certificates of a day in somebody's name; a receipt each, which greenhouse-gas accounts can cite.

    Parameters
    ----------
    run
        The run's public record (public.jsonl), or the folder that it is in.
    chain
        JSON-RPC address of a node of the chain that it settles on.
    manifest
        Of `walras deploy`: where EnergyCertificates is looked up.
    day
        Local day, YYYY-MM-DD.
    beneficiary
        In whose name.
    out
        Write the receipts here (JSON).
    key
        File with 64 hex digits: the member's own Ethereum key.
    member
        Instead, in a trial: the member's id, whose key follows from the community's seed.
    """
    from walras.commands.certificate import retire_command

    retire_command(run, chain, manifest, _day(day), beneficiary, out, member, key)


@certificate.command
def check(receipts: Path, *, chain: str) -> None:
    """Hold receipts against the contract: what the auditor of a greenhouse-gas account does.

    Parameters
    ----------
    receipts
        File of `walras certificate retire --out`.
    chain
        JSON-RPC address of a node of the chain.
    """
    from walras.commands.certificate import check_command

    check_command(receipts, chain)


def _day(text: str) -> date:
    from walras.commands.options import read_day

    day = read_day(text, "walras certificate", "--day")
    assert day is not None
    return day
