"""`walras disclose`: a credential as an SD-JWT, a presentation of some of it, and the check of a presentation."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

from walras.commands.secrets import read_passphrase
from walras.commands.terminal import say, screen
from walras.errors import Fault, InputError, MeteringError
from walras.metering import (
    CredentialRefusal,
    check_presentation,
    issue_disclosable,
    present,
    public_key_of,
    read_credential,
    read_list,
    salts_from,
)
from walras.service.keys import open_key

WHERE = "walras disclose"


def issue_command(credential: Path, operator: str, holder: str, out: Path, passphrase: Path | None) -> None:
    """Write the credential that `walras enrol` made as an SD-JWT for its holder (DID)."""
    key = open_key(operator, read_passphrase(passphrase, WHERE))
    read = read_credential(_text(credential), key.public_key())
    if isinstance(read, CredentialRefusal):
        raise MeteringError(f"{credential}: {read.value}", thing=read, way_out="`walras enrol` with the same --operator writes one")
    whole = issue_disclosable(key, read, public_key_of(holder), salts_from(os.urandom(32), read.device))
    out.write_text(whole + "\n", encoding="ascii")
    say(screen(), f"{out}: for {holder}, who chooses what to show of it")


def show_command(
    whole: Path, key: str, claims: str, audience: str, nonce: str, out: Path, now: datetime, passphrase: Path | None
) -> None:
    """Write a presentation of some claims for one verifier and one occasion."""
    chosen = [name.strip() for name in claims.split(",") if name.strip()]
    holder = open_key(key, read_passphrase(passphrase, WHERE))
    out.write_text(present(_text(whole), holder, chosen, audience, nonce, now) + "\n", encoding="ascii")
    say(screen(), f"{out}: shows {', '.join(chosen) or 'nothing'} to {audience}, within five minutes")


def check_command(presentation: Path, operator: str, audience: str, nonce: str, status: Path, now: datetime) -> None:
    """Print what a presentation shows; MeteringError with the reason where it does not hold."""
    issuer = public_key_of(operator)
    listed = read_list(_text(status), issuer, now)
    if isinstance(listed, CredentialRefusal):
        raise MeteringError(f"{status}: {listed.value}", thing=listed, way_out="`walras revoke` writes a status list")
    seen = check_presentation(_text(presentation), issuer, audience, nonce, now, listed)
    if isinstance(seen, CredentialRefusal):
        raise MeteringError(f"{presentation}: {seen.value}", thing=seen)
    said = {"issuer": seen.issuer, "holder": seen.holder, "calibrated_until": seen.calibrated_until.isoformat()}
    print(json.dumps(said | {"claims": dict(seen.claims)}, indent=1))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as cause:
        raise InputError(WHERE, [Fault(str(path), "file", type(cause).__name__, "a token")]) from cause
