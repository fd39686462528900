"""The command line of orders to devices: allow, order, dispatch. Parses and calls."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from walras.commands.options import AsFile, clock_of, read_moment

group = App()


@group.command
def allow(
    holder: str,
    right: str,
    *,
    operator: str,
    out: Path,
    days: int = 30,
    clock: Path | None = None,
    passphrase: Path | None = None,
) -> None:
    """The operator's credential for who may order what devices do (an aggregator to dispatch, the grid operator to limit) or edit.

    Parameters
    ----------
    holder
        DID of who gets the right.
    right
        `dispatch`: limits and set-points, with the owner's consent; `limit`: limits alone, without; `edit`: readings, once
        settled; `erase`: what nodes keep of members.
    operator
        Place of the operator's key: a file (PEM), or `tpm:TCTI`; `seed:COMMUNITY` for the one that follows from the seed.
    out
        Write the credential to this file.
    days
        How long it holds.
    clock
        File with the time, for a replay; default: the machine's clock.
    passphrase
        File whose first line decrypts the key's file.
    """
    from walras.commands.dispatch import allow_command

    allow_command(holder, right, operator, out, days, clock_of(clock)(), passphrase)


@group.command
def order(
    community: Path,
    member: str,
    *,
    start: Annotated[str, Parameter(name="--from")],
    until: str,
    key: str,
    credential: Path,
    out: Path,
    at_least: Annotated[int | None, Parameter(allow_leading_hyphen=True)] = None,
    at_most: Annotated[int | None, Parameter(allow_leading_hyphen=True)] = None,
    right: str = "dispatch",
    clock: Path | None = None,
    roll: Path | None = None,
    passphrase: Path | None = None,
) -> None:
    """Sign an order to a member's devices: net power at the meter, positive taken, between two bounds over some slots.

    Parameters
    ----------
    community
        The community file (TOML).
    member
        The member's id, such as home-17.
    start
        First moment, by the community's clocks (2016-06-06T12:00) or with its offset (2016-06-06T12:00+02:00).
    until
        Last moment, likewise.
    key
        Place of the key of who orders: a file (PEM), or `tpm:TCTI`.
    credential
        The credential that `walras allow` wrote.
    out
        Write the signed order to this file.
    at_least
        Least net power in W: -2000 feeds in at most 2 kW. With the same at_most: a set-point. Neither: takes earlier orders back.
    at_most
        Most net power in W: 4200 takes at most 4.2 kW.
    right
        The right that is used: dispatch or limit.
    clock
        File with the time, for a replay; default: the machine's clock.
    roll
        Which devices are vouched for (TOML), where keys do not follow from the seed.
    passphrase
        File whose first line decrypts the key's file.
    """
    from walras.commands.dispatch import order_command
    from walras.community import load_community

    zone = load_community(community).grid.timezone
    spans = read_moment(start, zone, "walras order", "--from"), read_moment(until, zone, "walras order", "--until")
    order_command(community, member, spans, (at_least, at_most), (key, passphrase), credential, right, out, clock_of(clock)(), roll)


@group.command
def dispatch(
    run: Path,
    order: Path | None = None,
    *,
    revoke: str | None = None,
    clock: Path | None = None,
    opener: AsFile = None,
    roll: Path | None = None,
) -> None:
    """Judge and record an order to a member's devices; the run heeds it from the next slot on that opens.

    Parameters
    ----------
    run
        Folder of the run.
    order
        The signed order, as `walras order` makes it.
    revoke
        Instead of an order: the DID of a holder whose credential is revoked, and with it the orders under it.
    clock
        File with the time, for a replay; default: the machine's clock.
    roll
        Who issues credentials and which devices are vouched for (TOML), where keys do not follow from the seed.
    """
    from walras.commands.dispatch import dispatch_command, revoke_command
    from walras.errors import Fault, InputError

    if (order is None) == (revoke is None):
        raise InputError("walras dispatch", [Fault("command line", "ORDER", order, "a signed order, or --revoke DID")])
    if order is not None:
        dispatch_command(run, order, opener, clock_of(clock)(), roll)
    elif revoke is not None:
        revoke_command(run, revoke, opener, clock_of(clock)())
