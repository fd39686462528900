"""`walras key`, `walras enrol` and `walras revoke`: keys, and what the meter operator says of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from walras.commands.options import check_days
from walras.commands.secrets import read_passphrase, read_secret
from walras.commands.terminal import say, screen
from walras.community import Community, load_community
from walras.errors import Fault, InputError, MeteringError
from walras.ledger import LedgerKeys
from walras.ledger.keys import key_of
from walras.metering import CredentialRefusal, MeterCredential, StatusList, did_of, empty_list, issue, issue_list, with_revoked
from walras.metering.credential import moment_of
from walras.metering.identity import Key, PublicKey
from walras.metering.status_list import read_list_of_any_time
from walras.metering.tpm import EnrolmentRefusal, Policy, read_public
from walras.metering.tpm.endorsement import certificate_fault
from walras.service.appointment import exchange_credential
from walras.service.enrolment import attest, credential_of, read_policy
from walras.service.key_file import make_key
from walras.service.keys import PREFIX, open_key, open_keys, open_tpm_key
from walras.service.roll import EXCHANGE
from walras.service.sealed import seal
from walras.service.status_bits import bits_in_folder, unused_bit
from walras.service.tpm_device import TpmKey
from walras.study.meters import TRANSFORMER, meter_credential

SECRET = "secret:"


def key_command(place: str, new: bool, passphrase: Path | None, registers: str | None) -> None:
    """Print what others know the key by."""
    if place.startswith(SECRET):
        _show_secret(Path(place.removeprefix(SECRET)), new)
        return
    word = read_passphrase(passphrase, "walras key")
    if new and not place.startswith("tpm:"):
        make_key(Path(place), word)
    if registers is not None:
        device = open_tpm_key(place)
        print(did_of(device.public_key()))
        values = device.registers(_numbers(registers))
        print("registers = {" + ", ".join(f'{number} = "{value.hex()}"' for number, value in values) + "}")
        return
    print(did_of(open_key(place, word).public_key()))


def seal_command(place: str, seal_in: str, registers: str | None, out: Path | None) -> None:
    """Seal the secret in a file in a TPM, under the named registers."""
    faults = [] if place.startswith(SECRET) else [Fault("command line", "PLACE", place, "secret:FILE")]
    faults += [] if seal_in.startswith(PREFIX) else [Fault("command line", "--seal", seal_in, "tpm:TCTI")]
    faults += [] if registers else [Fault("command line", "--registers", registers, "numbers with commas between, such as 0,4,7")]
    if faults or out is None or registers is None:
        faults += [] if out else [Fault("command line", "--out", None, "a file for the sealed secret")]
        raise InputError("walras key", faults)
    secret = read_secret(Path(place.removeprefix(SECRET)), "walras key")
    content = seal(seal_in.removeprefix(PREFIX), _numbers(registers), secret)
    with os.fdopen(_new_file(out), "wb") as stream:
        stream.write(content)
    say(screen(), f"{out}: given out by this TPM under this firmware, and nowhere else; {place} can be destroyed")


def enrol_command(
    community: Path,
    device: str,
    operator: str,
    out: Path,
    place: str | None,
    trust: Path | None,
    unattested: bool,
    passphrase: Path | None,
) -> None:
    """Issue one credential; MeteringError, with the reason, where the device is not enrolled."""
    given = load_community(community)
    faults = [] if place is not None else [Fault("command line", "--key", None, "the place of the device's key, or --tpm TCTI")]
    if unattested == (trust is not None) and device != EXCHANGE:
        expected = "one of them: what the operator trusts, or its word that it looks at nothing"
        faults.append(Fault("command line", "--trust, --unattested", (str(trust), unattested), expected))
    if faults or place is None:
        raise InputError("walras enrol", faults)
    word = read_passphrase(passphrase, "walras enrol")
    own, key = open_keys([operator, place], word)
    if device == EXCHANGE:
        token = exchange_credential(given, own, did_of(key.public_key()))
    elif trust is None:
        token = issue(own, _stated(given, device, key, own, out))
    else:
        token = _attested(device, _stated(given, device, key, own, out), key, own, trust)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(token + "\n", encoding="ascii")
    print(f"{device}: {did_of(key.public_key())}")
    print(f"vouched for by {did_of(own.public_key())}: {out}")


def _stated(community: Community, device: str, key: Key, operator: Key, out: Path) -> MeterCredential:
    """What is said of the device, with a status bit that no credential beside it has."""
    used = bits_in_folder(out.parent, operator.public_key()).values()
    return meter_credential(community, device, did_of(key.public_key()), unused_bit(used))


def _attested(device: str, stated: MeterCredential, key: Key, operator: Key, trust: Path) -> str:
    if not isinstance(key, TpmKey):
        raise InputError("walras enrol", [Fault("device", "key", "in a file", "a key in a TPM; --unattested vouches for any")])
    policy, now = read_policy(trust), datetime.now(UTC)
    attested = attest(key, policy, os.urandom, now)
    if isinstance(attested, EnrolmentRefusal):
        raise MeteringError(
            f"{device} is not enrolled: {attested.value}", thing=attested, way_out=_hint(attested, key, policy, now)
        )
    print(f"attested: key in a TPM, counter at {attested.counter}, firmware {attested.firmware!r}")
    print(f"measured: {attested.measurement.hex()}")
    return credential_of(operator, stated, attested)


def _hint(refusal: EnrolmentRefusal, key: TpmKey, policy: Policy, now: datetime) -> str:
    """What more is known of a refusal."""
    offer = key.offer()
    if refusal is EnrolmentRefusal.NOT_ENDORSED:
        fault = certificate_fault(offer.certificate, policy.between, policy.roots, read_public(offer.endorsement), now)
        return f"{fault}; the makers' certificates are `roots` and `between` of --trust"
    if refusal is EnrolmentRefusal.UNKNOWN_FIRMWARE:
        shown = ", ".join(f"{number}: {value.hex()}" for number, value in key.registers(policy.selected))
        return f"the registers are {shown}; if that firmware is good, add it to --trust"
    return ""


def revoke_command(
    community: Path,
    devices: str,
    operator: str,
    status: Path,
    at: str | None,
    days: int,
    passphrase: Path | None,
    credentials: Path | None = None,
) -> None:
    """Write the next status list. A device's bit is that of its credential in a folder, `credentials` beside the list."""
    check_days("walras revoke", "--days", days, 1)
    given = load_community(community)
    names, folder = [name for name in devices.split(",") if name], credentials or status.parent / "credentials"
    _check_names(given, names)
    own = open_key(operator, read_passphrase(passphrase, "walras revoke"))
    since = _moment(at)
    until = since + timedelta(days=days)
    listed = _known(status, own.public_key()) if status.exists() else empty_list(since, until)
    bits = bits_in_folder(folder, own.public_key())
    missing = [name for name in names if name not in bits]
    if missing:
        expected = "a credential of this operator, by `walras enrol`; --credentials names the folder"
        raise InputError("walras revoke", [Fault(str(folder), f"{name}.jwt", "missing", expected) for name in missing])
    listed = with_revoked(listed, [bits[name] for name in names], since, until)
    partial = status.with_name(f"{status.name}.partial")
    partial.write_text(issue_list(own, listed) + "\n", encoding="ascii")
    partial.replace(status)
    revoked = [name for name, bit in bits.items() if listed.is_revoked(bit)]
    count = int.from_bytes(listed.bits).bit_count()
    others = [f"{count - len(revoked)} whose credential is not in {folder}"] if count > len(revoked) else []
    said = f"{count} revoked{': ' if count else ''}{', '.join([*revoked, *others])}"
    say(screen(), f"{status}: {said}; holds until {until:%Y-%m-%d}")


def _known(status: Path, operator: PublicKey) -> StatusList:
    """The list so far, whenever it held; InputError where the operator did not sign it."""
    read = read_list_of_any_time(status.read_text(encoding="ascii").strip(), operator)
    if isinstance(read, CredentialRefusal):
        raise InputError("walras revoke", [Fault(str(status), "list", read.value, "a list of this operator")])
    return read


def _check_names(community: Community, names: Sequence[str]) -> None:
    """InputError for what is neither a member, nor a meter hung at one's (MEMBER@SLOT), nor the transformer."""
    ids = {TRANSFORMER, *(member.id for member in community.members)}
    expected = f"members of {community.name}, MEMBER@SLOT or {TRANSFORMER}"
    faults = [Fault("command line", "DEVICES", name, expected) for name in names if name.partition("@")[0] not in ids]
    if faults:
        raise InputError("walras revoke", faults)


def _moment(text: str | None) -> datetime:
    if text is None:
        return datetime.now(UTC).replace(microsecond=0)
    try:
        return moment_of(text)
    except ValueError as cause:
        raise InputError("walras revoke", [Fault("command line", "--at", text, "YYYY-MM-DDTHH:MM:SSZ")]) from cause


def _numbers(text: str) -> list[int]:
    try:
        numbers = sorted({int(part) for part in text.split(",")})
    except ValueError as cause:
        raise InputError(
            "walras key", [Fault("command line", "--registers", text, "numbers with commas between, such as 0,4,7")]
        ) from cause
    if not 0 <= numbers[0] <= numbers[-1] < 24:
        raise InputError("walras key", [Fault("command line", "--registers", text, "numbers from 0 to 23")])
    return numbers


def _new_file(path: Path) -> int:
    """A file that was not there, for its owner alone."""
    try:
        return os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError as cause:
        raise InputError("walras key", [Fault(str(path), "file", "exists", "a path where nothing is")]) from cause


def _show_secret(path: Path, new: bool) -> None:
    """The addresses that follow from a secret; made of the operating system's random numbers where asked."""
    if new:
        with os.fdopen(_new_file(path), "w", encoding="ascii") as stream:
            stream.write(os.urandom(32).hex() + "\n")
    secret = read_secret(path, "walras key")
    keys = LedgerKeys(secret)
    print(f"as --key (oracle, account)  {key_of(secret).address}")
    print(f"as --secret, admin          {keys.admin.address}")
    print(f"as --secret, operator       {keys.operator.address}")
