"""Who opens a run's folder, and for what: the one rule that every command on a folder goes through.

What is public lies open (`public.jsonl`, `HEAD`); everything personal is sealed under one key of the folder, drawn at random:
members' keys in the journal are wrapped under it, the community file is sealed under a key from it. That key is kept in
`access.json` and nowhere else, once for each who may open the folder, in an envelope that only their own key opens:

    the operator     the key in a file beside the folder, which `walras run` makes (`runs/rural3.pem` beside `runs/rural3`), or one
                     that follows from the secret that the run was begun with: everything
    who is admitted  their own key (P-256), and the operator's credential (`access`) that gives a right for a time; a command takes
                     it as a request signed by that key, for this folder and for what it does (`NEEDED`)
    a member         the same with the right OWN; in the envelope are that member's own two keys and no others

Whose an envelope is stands nowhere in clear: the credential is in it, and what the operator needs to take it back is sealed.
Who has a member's own is "member" in the record, with the account: a DID beside an account would say whose the account is, for
good, to whoever was ever shown that DID. A copy of the folder without any of these keys is the public record, and noise. What opens
everything opens everything: that a holder uses it for the right that was given, and no longer, is kept by the program and shown by
the record, not by arithmetic.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec

from walras.errors import Fault, InputError, JournalError, MeteringError
from walras.exchange.pem import read_key, write_new_key
from walras.exchange.sealed import MemberKeys, OwnKeys
from walras.metering.access import Allowed, Right, issue_access, open_request, sign_request
from walras.metering.envelope import disclose, enclose
from walras.metering.identity import PrivateKey, derive_key, did_of, public_key_of
from walras.metering.vault import KEY_BYTES, NONCE_BYTES, Place, seal, unseal

JOURNAL, PUBLIC, COMMUNITY, ACCESS = "journal.sqlite", "public.jsonl", "community.sealed", "access.json"
OPERATOR, MEMBER = "operator", "member"
BESIDE, SECRET = "beside", "secret"
"""Where the operator's key is: in a file beside the folder, or it follows from a secret."""

NEEDED: Mapping[str, tuple[Right, ...]] = {
    "walras bill": (Right.OPERATE, Right.OWN),
    "walras consent": (Right.OPERATE, Right.OWN),
    "walras dispatch": (Right.OPERATE,),
    "walras edit": (Right.EDIT, Right.OPERATE),
    "walras exchange-meter": (Right.OPERATE,),
    "walras export": (Right.EXPORT, Right.OWN),
    "walras forget": (Right.ERASE,),
    "walras prove": (Right.OPERATE, Right.OWN),
    "walras report": (Right.OPERATE,),
    "walras statistics": (Right.OPERATE,),
    "walras validate": (Right.OPERATE,),
}
"""Any one of these rights lets somebody other than the operator give the command; what is not here is the operator's alone."""

RIGHTS = (Right.OPERATE, Right.EXPORT, Right.ERASE, Right.EDIT, Right.OWN)
"""What somebody can be admitted to a folder with."""

Opener = bytes | PrivateKey | None
"""What opens a folder: the operator's secret, a key (the operator's, or of who was admitted), or None for the file beside it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Who opens it, as the record names them, and the folder's key, or the keys of the members whose own key it was. `secret`:
    whether the run was begun with one. `issuer`: the operator's key, where it was that."""

    by: str
    keys: bytes | OwnKeys
    secret: bool
    issuer: PrivateKey | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Who may not, as the record names them, and why."""

    by: str
    why: str


@dataclass(frozen=True, slots=True)
class Holder:
    """Somebody who was admitted: their DID, and the account where it is a member's own."""

    did: str
    account: int | None


def key_place(run: Path) -> Path:
    """Where the operator's key of a run is made and looked for: beside its folder, so that a copy of the folder is without it."""
    return beside(run, ".pem")


def beside(run: Path, suffix: str) -> Path:
    """The file beside a run's folder that has the folder's name and a suffix.

    >>> beside(Path("runs/learn"), ".pem").as_posix()
    'runs/learn.pem'
    """
    place = run if run.name not in ("", "..") else run.resolve()
    return place.with_name(f"{place.name}{suffix}")


def begin(run: Path, secret: bytes | None) -> bytes:
    """The folder's key for a run that begins or goes on: random, kept for who has `secret`, or the key beside the folder."""
    if (run / ACCESS).exists():
        opened = open_folder(run, secret, "walras run", None)
        assert isinstance(opened, Opened)
        assert isinstance(opened.keys, bytes)
        return opened.keys
    if (run / JOURNAL).exists():
        raise JournalError(
            f"{run}: it was begun by an earlier version: nothing says who may open it ({ACCESS})",
            thing=run,
            way_out="--fresh begins anew, or another --out",
        )
    operator, master = read_or_make(run) if secret is None else _operator_of(secret), os.urandom(KEY_BYTES)
    did = did_of(operator.public_key())
    where = BESIDE if secret is None else SECRET
    _write(run, {"operator": did, "key": where, "envelope": _envelope(did, did, master), "holders": []})
    return master


def read_or_make(run: Path) -> PrivateKey:
    """The operator's key beside the folder; made where there is none."""
    if not key_place(run).exists():
        write_new_key(key_place(run))
    return read_key(key_place(run))


def open_folder(run: Path, opener: Opener, command: str, now: datetime | None) -> Opened | Refused:
    """Open the folder for `command` at `now` (aware). InputError where a key is missing, JournalError where it is another run's.

    The operator needs no `now`: who is admitted is judged by it.
    """
    access = _read(run)
    key = _operator_of(opener) if isinstance(opener, bytes) else opener or _beside(run, access)
    did = did_of(key.public_key())
    if did == access["operator"]:
        return Opened(OPERATOR, _disclosed(key, access["operator"], access["envelope"]), access["key"] == SECRET, key)
    if opener is None or isinstance(opener, bytes):
        raise _another(run)
    held = _held(key, access)
    if held is None or now is None:
        return Refused(did, "this key was not admitted to the folder")
    credential, keys = held
    by = did if isinstance(keys, bytes) else MEMBER
    needed, why = NEEDED.get(command, ()), "this is the operator's alone"
    for right in needed:
        body = command.encode()
        judged = open_request(
            sign_request(key, credential, right, access["operator"], body, now), public_key_of(access["operator"]),
            access["operator"], now,
        )  # fmt: skip
        if isinstance(judged, Allowed):
            return Opened(by, keys, access["key"] == SECRET)
        why = judged.value
    return Refused(by, why)


def admit(
    run: Path, by: Opened, holder: str, right: Right, period: tuple[datetime, datetime], own: Mapping[int, MemberKeys]
) -> None:
    """Let `holder` (DID) open the folder from and until, for `right`: all of it, or with `own` one member's parts.

    A holder has one right: another replaces it.
    """
    assert by.issuer is not None
    assert isinstance(by.keys, bytes)
    access, about = _read(run), Holder(holder, next(iter(own), None))
    inside: object = {at: [keys.salts, keys.seals] for at, keys in own.items()} if own else by.keys
    envelope = _envelope(access["operator"], holder, [issue_access(by.issuer, holder, [right], *period), inside])
    row = {"about": seal(_text_key(by.keys), os.urandom(NONCE_BYTES), _ABOUT, cbor2.dumps([about.did, about.account]), 128).hex()}
    access["holders"] = [one for one in access["holders"] if _about(by.keys, one).did != holder] + [{**row, "envelope": envelope}]
    _write(run, access)


def admitted(run: Path, master: bytes) -> list[Holder]:
    """Who may open the folder besides the operator."""
    return [_about(master, row) for row in _read(run)["holders"]]


def dismiss(run: Path, master: bytes, holder: str) -> bool:
    """Take back what `admit` gave; whether there was anything."""
    return _dismiss(run, master, lambda one: one.did == holder) > 0


def dismiss_account(run: Path, master: bytes, account: int) -> int:
    """Take back what was given to a member as such; how many keys of theirs that were."""
    return _dismiss(run, master, lambda one: one.account == account)


def _dismiss(run: Path, master: bytes, whom: Callable[[Holder], bool]) -> int:
    access = _read(run)
    stay = [row for row in access["holders"] if not whom(_about(master, row))]
    gone = len(access["holders"]) - len(stay)
    if gone:
        _write(run, {**access, "holders": stay})
    return gone


def _about(master: bytes, row: Mapping[str, str]) -> Holder:
    return Holder(*cbor2.loads(unseal(_text_key(master), _ABOUT, bytes.fromhex(row["about"]))))


def seal_text(run: Path, master: bytes, text: str, origin: Path) -> None:
    """The community file, sealed, and the folder that its references to data files count from."""
    content = cbor2.dumps([text, str(origin.resolve())])
    partial = (run / COMMUNITY).with_suffix(".partial")
    partial.write_bytes(seal(_text_key(master), os.urandom(NONCE_BYTES), _TEXT, content))
    partial.replace(run / COMMUNITY)


def sealed_text(run: Path, master: bytes) -> tuple[str, Path]:
    """The community file's text, and the folder that it was in."""
    text, origin = cbor2.loads(unseal(_text_key(master), _TEXT, (run / COMMUNITY).read_bytes()))
    return text, Path(origin)


_TEXT, _ABOUT = Place(0, "community", 0), Place(0, "admitted", 0)


def _text_key(master: bytes) -> bytes:
    return sha256(b"walras community file" + master).digest()


def _operator_of(secret: bytes) -> PrivateKey:
    """The operator's key where a secret is all there is."""
    return derive_key(secret, "operator of a run")


def _beside(run: Path, access: Mapping[str, Any]) -> PrivateKey:
    place = key_place(run)
    if access["key"] == BESIDE and place.exists():
        return read_key(place)
    ways = f"without it: `walras audit {run}` and `walras report {run} --public`"
    if access["key"] == SECRET:
        fault = Fault("command line", "--as", None, "the secret that the run was begun with, or a key that was admitted")
        raise InputError(f"{run}: what it keeps of members is sealed", [fault], way_out=ways)
    fault = Fault(str(place), "file", "missing", "the operator's key, which `walras run` made beside the folder")
    way = f"bring that file, or `--as FILE` with it or a key that was admitted; {ways}"
    raise InputError(f"{run}: what it keeps of members is sealed", [fault], way_out=way)


def _another(run: Path) -> JournalError:
    return JournalError(
        f"{run}: its members' keys do not open: the run was begun with another key or --secret",
        thing=run,
        way_out=f"give what it was begun with: `--as FILE`, or {key_place(run).name} beside the folder; or another --out",
    )


def _envelope(operator: str, holder: str, inside: object) -> str:
    once = ec.generate_private_key(ec.SECP256R1())
    return enclose(public_key_of(holder), once, operator.encode(), cbor2.dumps(inside)).hex()


def _disclosed(key: PrivateKey, operator: str, envelope: str) -> bytes:
    """The folder's key, from the operator's own envelope."""
    inside: bytes = cbor2.loads(disclose(key, operator.encode(), bytes.fromhex(envelope)))
    return inside


def _held(key: PrivateKey, access: Mapping[str, Any]) -> tuple[str, bytes | OwnKeys] | None:
    """Credential and keys from the envelope that `key` opens; None where none is for it."""
    for row in access["holders"]:
        try:
            credential, inside = cbor2.loads(disclose(key, access["operator"].encode(), bytes.fromhex(row["envelope"])))
        except MeteringError:
            continue  # somebody else's
        keys = inside if isinstance(inside, bytes) else OwnKeys({at: MemberKeys(*both) for at, both in inside.items()})
        return credential, keys
    return None


def _read(run: Path) -> dict[str, Any]:
    missing = [
        Fault(str(run), "file", name, "a file that `walras run` wrote")
        for name in (ACCESS, COMMUNITY, JOURNAL)
        if not (run / name).is_file()
    ]
    if ACCESS in (fault.value for fault in missing) or len(missing) > 1:
        raise InputError(f"{run}: there is no run here", missing, way_out="`walras run COMMUNITY --out FOLDER` makes one")
    try:
        access: dict[str, Any] = json.loads((run / ACCESS).read_bytes())
        access["holders"] = access.get("holders") or []
        held = {"operator": str, "key": str, "envelope": str, "holders": list}
        if any(not isinstance(access.get(name), kind) for name, kind in held.items()):
            raise ValueError("a field is missing")
    except (ValueError, AttributeError) as cause:
        raise JournalError(f"{run / ACCESS}: damaged: {cause}", thing=run, way_out="restore the file from a copy") from cause
    return access


def _write(run: Path, access: Mapping[str, Any]) -> None:
    """Whole or not at all, and on disk when this returns: without it nothing opens."""
    partial = (run / ACCESS).with_suffix(".partial")
    with partial.open("w", encoding="ascii") as stream:
        json.dump(access, stream, indent=1)
        stream.write("\n")
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(run / ACCESS)
