"""The meter operator's desk: a device is brought, its key is looked at, and it leaves with a credential or a named refusal.

What the operator trusts is in a file of its own:

    roots = ["maker-root.pem"]              # certificates of makers of TPMs
    between = ["maker-issuer.pem"]          # and of their intermediates
    [[firmware]]
    name = "meter 1.4"
    registers = {0 = "64 hex digits", 4 = "64 hex digits"}   # values after a start with it, SHA-256 bank

The checks are those of `metering.tpm`; here are the file, the random numbers and the wall clock.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from walras.errors import Fault, InputError, reason_of
from walras.metering import KeyAttestation, MeterCredential, did_of, issue
from walras.metering.identity import Key
from walras.metering.tpm import Attested, EnrolmentRefusal, Firmware, Policy, challenge, check_evidence, check_offer
from walras.service.tpm_device import TpmKey


def attest(device: TpmKey, policy: Policy, draw: Callable[[int], bytes], now: datetime) -> Attested | EnrolmentRefusal:
    """The whole of an enrolment with a TPM at the desk; `draw` gives so many random bytes, `now` is aware.

    MeteringError where the TPM does not answer, or does not open the challenge.
    """
    offered = check_offer(device.offer(), policy, now)
    if isinstance(offered, EnrolmentRefusal):
        return offered
    secret, nonce = draw(32), draw(32)
    asked = challenge(offered, policy, secret, draw(32), nonce)
    return check_evidence(offered, secret, nonce, device.answer(asked), policy.firmware)


def credential_of(operator: Key, stated: MeterCredential, attested: Attested) -> str:
    """The credential that also says what was attested; InputError where it is for another key than that."""
    if stated.device != did_of(attested.key):
        raise InputError("enrolment", [Fault("credential", "device", stated.device, f"{did_of(attested.key)}, which was attested")])
    return issue(operator, replace(stated, attestation=KeyAttestation(attested.firmware, attested.measurement)))


def read_policy(path: Path) -> Policy:
    """What the operator trusts, from its file; InputError with every fault."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as cause:
        raise InputError(str(path), [Fault(str(path), "file", reason_of(cause), "TOML")]) from cause
    faults = [Fault(str(path), name, given[name], "roots, between or firmware") for name in sorted(set(given) - _KNOWN)]
    roots, between = (_certificates(path, given.get(name, []), name, faults) for name in ("roots", "between"))
    firmware = [
        _firmware(path, at, entry, faults) for at, entry in enumerate(_list(path, given.get("firmware", []), "firmware", faults))
    ]
    if faults:
        raise InputError(str(path), faults)
    return Policy(roots, between, tuple(one for one in firmware if one is not None))


_KNOWN = {"roots", "between", "firmware"}


def _list(path: Path, given: object, name: str, faults: list[Fault]) -> list[object]:
    if isinstance(given, list):
        return given
    faults.append(Fault(str(path), name, given, "a list"))
    return []


def _certificates(path: Path, given: object, name: str, faults: list[Fault]) -> tuple[bytes, ...]:
    found = []
    for entry in _list(path, given, name, faults):
        file = path.parent / str(entry)
        try:
            found.append(load_pem_x509_certificate(file.read_bytes()).public_bytes(Encoding.DER))
        except (OSError, ValueError) as cause:
            faults.append(Fault(str(file), name, type(cause).__name__, "a certificate in PEM"))
    return tuple(found)


def _firmware(path: Path, at: int, entry: object, faults: list[Fault]) -> Firmware | None:
    where = f"{path}, firmware {at + 1}"
    try:
        if not isinstance(entry, dict) or set(entry) != {"name", "registers"}:
            raise ValueError("a table with name and registers")
        registers = sorted((int(number), bytes.fromhex(value)) for number, value in entry["registers"].items())
        return Firmware(str(entry["name"]), tuple(registers))
    except (ValueError, TypeError, AttributeError) as cause:
        faults.append(Fault(where, "firmware", entry, f"a name, and registers from 0 to 23 with 64 hex digits each ({cause})"))
    except InputError as cause:
        faults += cause.faults
    return None
