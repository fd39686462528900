"""The command line of selective disclosure. Parses and calls."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from walras.commands.options import clock_of

group = App()
disclose = App(name="disclose", help="Show of a meter's credential what somebody needs, and nothing else (SD-JWT).")
group.command(disclose)


@disclose.command
def issue(credential: Path, *, operator: str, holder: str, out: Path, passphrase: Path | None = None) -> None:
    """The operator hands a credential over so that its holder can show only some of it.

    Parameters
    ----------
    credential
        What `walras enrol` wrote.
    operator
        Place of the meter operator's key.
    holder
        DID of the member who will show it.
    out
        Write the SD-JWT with all its claims to this file: for the holder alone.
    passphrase
        File whose first line decrypts the key's file.
    """
    from walras.commands.disclose import issue_command

    issue_command(credential, operator, holder, out, passphrase)


@disclose.command
def show(
    whole: Path,
    *,
    key: str,
    claims: str,
    audience: str,
    nonce: str,
    out: Path,
    clock: Path | None = None,
    passphrase: Path | None = None,
) -> None:
    """The holder shows some claims to one verifier, once.

    Parameters
    ----------
    whole
        What `walras disclose issue` wrote.
    key
        Place of the holder's key.
    claims
        With commas between: device, member, node, technology, max_import_w, max_export_w, attestation.
    audience
        Name of the verifier.
    nonce
        What the verifier chose for this occasion.
    out
        Write the presentation to this file.
    clock
        File with the time, for a replay; default: the machine's clock.
    passphrase
        File whose first line decrypts the key's file.
    """
    from walras.commands.disclose import show_command

    show_command(whole, key, claims, audience, nonce, out, clock_of(clock)(), passphrase)


@disclose.command
def check(presentation: Path, *, operator: str, audience: str, nonce: str, status: Path, clock: Path | None = None) -> None:
    """The verifier checks a presentation: issuer, validity, calibration, revocation, holder, audience, nonce.

    Parameters
    ----------
    presentation
        What `walras disclose show` wrote.
    operator
        DID of the meter operator.
    audience
        The verifier's own name.
    nonce
        What it chose for this occasion.
    status
        The operator's status list, as `walras revoke` writes it.
    clock
        File with the time, for a replay; default: the machine's clock.
    """
    from walras.commands.disclose import check_command

    check_command(presentation, operator, audience, nonce, status, clock_of(clock)())
