"""The command line of identifiers on a chain. Parses and calls."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

group = App()
did = App(name="did", help="Identifiers of members and devices on a chain, which outlive their keys.")
group.command(did)


@did.command
def new(
    *,
    chain: str,
    manifest: Path,
    controller: Path,
    key: str,
    recovery: str | None = None,
    passphrase: Path | None = None,
) -> None:
    """Make an identifier for a member or device, with its first key; prints its name.

    Parameters
    ----------
    chain
        JSON-RPC address of a node.
    manifest
        Manifest of `walras deploy` with a DidRegistry.
    controller
        File with the key (64 hex digits) of the account that will control it.
    key
        The P-256 key that speaks for it: a file (PEM), `tpm:TCTI`, the did:key of one that is elsewhere, or
        `seed:COMMUNITY#MEMBER`, a simulated meter's.
    recovery
        Address that may take control back, after the registry's delay, when the controller's key is lost.
    passphrase
        File whose first line decrypts the key's file.
    """
    from walras.commands.did import new_command

    new_command(chain, manifest, controller, key, recovery, passphrase)


@did.command
def show(name: str, *, chain: str) -> None:
    """What the chain says of an identifier, as JSON: its document, who controls it, every key with its times.

    Parameters
    ----------
    name
        did:walras:CHAIN:REGISTRY:IDENTIFIER.
    chain
        JSON-RPC address of a node.
    """
    from walras.commands.did import show_command

    show_command(name, chain)


@did.command
def rotate(name: str, *, chain: str, controller: Path, key: str, passphrase: Path | None = None) -> None:
    """From now on another key speaks; what the old one signed before stays good.

    Parameters
    ----------
    name
        did:walras:CHAIN:REGISTRY:IDENTIFIER.
    chain
        JSON-RPC address of a node.
    controller
        File with the key of the account that controls it.
    key
        The new P-256 key, as for `new`.
    passphrase
        File whose first line decrypts the key's file.
    """
    from walras.commands.did import rotate_command

    rotate_command(name, chain, controller, key, passphrase)


@did.command
def revoke(name: str, *, chain: str, controller: Path) -> None:
    """The key no longer speaks, and no other does yet: it was stolen or lost.

    Parameters
    ----------
    name
        did:walras:CHAIN:REGISTRY:IDENTIFIER.
    chain
        JSON-RPC address of a node.
    controller
        File with the key of the account that controls it.
    """
    from walras.commands.did import act_command

    act_command(name, chain, controller, "revokeKey")


@did.command
def offer(name: str, to: str, *, chain: str, controller: Path) -> None:
    """Offer control to another account.

    Parameters
    ----------
    name
        did:walras:CHAIN:REGISTRY:IDENTIFIER.
    to
        Address of the account.
    chain
        JSON-RPC address of a node.
    controller
        File with the key of the account that controls it now.
    """
    from walras.commands.did import act_command

    act_command(name, chain, controller, "offerControl", to)


@did.command
def guard(name: str, recovery: str, *, chain: str, controller: Path) -> None:
    """Name another recovery address; one that was named ends with its controller's tenure.

    Parameters
    ----------
    name
        did:walras:CHAIN:REGISTRY:IDENTIFIER.
    recovery
        Address that may take control back, after the registry's delay; of zeros for none.
    chain
        JSON-RPC address of a node.
    controller
        File with the key of the account that controls it.
    """
    from walras.commands.did import act_command

    act_command(name, chain, controller, "setRecovery", recovery)


@did.command
def accept(name: str, *, chain: str, controller: Path) -> None:
    """Accept control that was offered.

    Parameters
    ----------
    name
        did:walras:CHAIN:REGISTRY:IDENTIFIER.
    chain
        JSON-RPC address of a node.
    controller
        File with the key of the account that will control it.
    """
    from walras.commands.did import act_command

    act_command(name, chain, controller, "acceptControl")


@did.command
def recover(
    name: str,
    *,
    chain: str,
    guardian: Path,
    to: str | None = None,
    finish: Annotated[bool, Parameter(negative=())] = False,
    stop: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """The controller's key is lost: the guardian begins to give control to another account, and after the delay finishes.

    Parameters
    ----------
    name
        did:walras:CHAIN:REGISTRY:IDENTIFIER.
    chain
        JSON-RPC address of a node.
    guardian
        File with the key of the account that was named as recovery; with `finish` of anybody, with `stop` of the controller.
    to
        Address of the account that will control it.
    finish
        The delay is over: hand control on.
    stop
        The controller is not lost after all.
    """
    from walras.commands.did import act_command
    from walras.errors import Fault, InputError

    if [to is not None, finish, stop].count(True) != 1:
        raise InputError("walras did recover", [Fault("command line", "--to", to, "--to ADDRESS, or --finish, or --stop")])
    if to is not None:
        act_command(name, chain, guardian, "startRecovery", to)
    else:
        act_command(name, chain, guardian, "finishRecovery" if finish else "stopRecovery")


@did.command
def end(name: str, *, chain: str, controller: Path) -> None:
    """End an identifier for good.

    Parameters
    ----------
    name
        did:walras:CHAIN:REGISTRY:IDENTIFIER.
    chain
        JSON-RPC address of a node.
    controller
        File with the key of the account that controls it.
    """
    from walras.commands.did import act_command

    act_command(name, chain, controller, "deactivate")
