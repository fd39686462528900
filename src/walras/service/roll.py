"""The roll of a community whose keys are its own: who vouches for meters, who is gateway, oracle, admin, and whose each account is.

    operator = "did:key:…"        # issues the credentials of meters, and of who may ask an oracle
    gateway = "did:key:…"
    admin = "0x…"                 # deploys the contracts
    oracles = ["0x…", …]          # by number
    balance = "0x…"               # the balance oracle, where the community's aggregation is "masked"
    credentials = "credentials"   # folder: MEMBER.jwt, transformer.jwt, exchange.jwt
    status = "status.jwt"         # the operator's status list, if there is one
    [identifiers]                 # names on a chain (did:walras) of devices that have one, by member, where there are any
    home-1 = "did:walras:…"
    [accounts]                    # who owns each account: every member, and those of `exchange.terms`, such as the supplier
    home-1 = "0x…"

It is public to those who take part: names, addresses, credentials, and no secret. Where the exchange drives the devices itself, as
in a trial, a second file says where its keys are, one place (`service.keys`) a name: `exchange`, `transformer` and every member;
and `MEMBER@SLOT` for a meter that is hung in another's place while the run goes on.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from eth_utils.address import is_checksum_address

from walras.community import Community
from walras.errors import Fault, InputError, MeteringError, reason_of
from walras.exchange.terms import SYSTEM_ACCOUNTS
from walras.ledger.identifiers import registry_in
from walras.metering import public_key_of
from walras.metering.identity import Key, PublicKey
from walras.service.keys import open_keys
from walras.study.meters import TRANSFORMER, Meters, vouched_meters

EXCHANGE = "exchange"


@dataclass(frozen=True, slots=True)
class Roll:
    """Who is appointed. `tokens` are the members' credentials in their order, from `folder`; `status` is None where nothing is ever
    revoked."""

    operator: PublicKey
    gateway: PublicKey
    admin: str
    oracles: tuple[str, ...]
    accounts: tuple[str, ...]
    tokens: tuple[str, ...]
    transformer: str
    exchange: str
    status: Path | None
    identifiers: Mapping[str, str] = field(default_factory=dict)
    balance: str = ""
    folder: Path = Path("credentials")

    def meters(self, community: Community, keys: dict[str, Key] | None = None) -> Meters:
        """The meters that the operator vouches for; `keys` by name where this process signs for them."""
        if keys is None:
            return vouched_meters(community, self.tokens, self.transformer, self.operator)
        own = [keys[member.id] for member in community.members]
        return vouched_meters(community, self.tokens, self.transformer, self.operator, own, keys[TRANSFORMER])


def read_roll(path: Path, community: Community) -> Roll:
    """The roll in a file, with the credentials it points to; InputError with every fault in it."""
    given, faults = _table(path), []
    known = {"operator", "gateway", "admin", "oracles", "accounts", "credentials", "status", "identifiers"}
    masked = community.metering.aggregation == "masked"
    known |= {"balance"} if masked else set()
    faults += [Fault(str(path), name, given[name], f"one of {sorted(known)}") for name in sorted(set(given) - known)]
    dids = {name: _did(path, given, name, faults) for name in ("operator", "gateway")}
    admin = _addresses(path, {"admin": [given.get("admin")]}, "admin", 1, faults)
    oracles = _addresses(path, given, "oracles", community.metering.oracles, faults)
    balance = _addresses(path, {"balance": [given.get("balance")]}, "balance", 1, faults)[0] if masked else ""
    owners = _owners(path, given.get("accounts"), [*(member.id for member in community.members), *SYSTEM_ACCOUNTS], faults)
    folder = path.parent / str(given.get("credentials", "credentials"))
    names = [*(member.id for member in community.members), TRANSFORMER, EXCHANGE]
    tokens = [_token(folder / f"{name}.jwt", faults) for name in names]
    status = path.parent / str(given["status"]) if "status" in given else None
    identifiers = _identifiers(path, given.get("identifiers", {}), [member.id for member in community.members], faults)
    operator, gateway = dids["operator"], dids["gateway"]
    if faults or operator is None or gateway is None:
        raise InputError(str(path), faults)
    named = (tuple(tokens[:-2]), tokens[-2], tokens[-1], status)
    return Roll(operator, gateway, admin[0], oracles, owners, *named, identifiers, balance, folder)


def read_key_places(path: Path, community: Community, passphrase: bytes | None = None) -> dict[str, Key]:
    """The keys of exchange, transformer and members by name, opened; InputError for a name too few or too many, or no such key."""
    given = _table(path)
    names = [EXCHANGE, TRANSFORMER, *(member.id for member in community.members)]
    faults = [
        Fault(str(path), name, None, "a place: a file, or tpm:TCTI") for name in names if not isinstance(given.get(name), str)
    ]
    others = sorted(name for name in set(given) - set(names) if name.rpartition("@")[0] not in names)
    faults += [Fault(str(path), name, given[name], "a name of this community, or MEMBER@SLOT") for name in others]
    if faults:
        raise InputError(str(path), faults)
    return dict(zip(names, open_keys([_resolved(path, str(given[name])) for name in names], passphrase), strict=True))


def read_exchanged_key(path: Path, member: str, slot: int, passphrase: bytes | None = None) -> Key:
    """The key of the meter that was hung at a member's in a slot: the place that the file names `MEMBER@SLOT`, read now."""
    given, name = _table(path), f"{member}@{slot}"
    if not isinstance(given.get(name), str):
        raise InputError(str(path), [Fault(str(path), name, None, "the place of the key of the meter that was hung there")])
    return open_keys([_resolved(path, str(given[name]))], passphrase)[0]


def _resolved(path: Path, place: str) -> str:
    return place if place.startswith("tpm:") else str(path.parent / place)


def _table(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as cause:
        raise InputError(str(path), [Fault(str(path), "file", reason_of(cause), "TOML")]) from cause


def _did(path: Path, given: dict[str, object], name: str, faults: list[Fault]) -> PublicKey | None:
    try:
        return public_key_of(str(given.get(name)))
    except MeteringError as cause:
        faults.append(Fault(str(path), name, given.get(name), f"a did:key of P-256 ({cause.message})"))
        return None


def _addresses(path: Path, given: dict[str, object], name: str, count: int, faults: list[Fault]) -> tuple[str, ...]:
    values = given.get(name)
    found = values if isinstance(values, list) else []
    if len(found) != count:
        faults.append(Fault(str(path), name, len(found), f"{count} addresses"))
    faults += [
        Fault(str(path), f"{name}[{at}]", value, "an address with its checksum (EIP-55)")
        for at, value in enumerate(found)
        if not _is_address(value)
    ]
    return tuple(str(value) for value in found)


def _owners(path: Path, given: object, names: list[str], faults: list[Fault]) -> tuple[str, ...]:
    table = given if isinstance(given, dict) else {}
    faults += [
        Fault(f"{path}, accounts", name, table[name], "an account of this community") for name in sorted(set(table) - set(names))
    ]
    expected = "the owner's address with its checksum (EIP-55)"
    faults += [Fault(f"{path}, accounts", name, table.get(name), expected) for name in names if not _is_address(table.get(name))]
    return tuple(str(table.get(name)) for name in names)


def _identifiers(path: Path, given: object, names: list[str], faults: list[Fault]) -> dict[str, str]:
    table = given if isinstance(given, dict) else {"": given}
    where = f"{path}, identifiers"
    faults += [Fault(where, str(name), table[name], "a member of this community") for name in sorted(set(table) - set(names))]
    for name, did in table.items():
        try:
            registry_in(str(did))
        except InputError as cause:
            faults += [Fault(where, str(name), did, fault.expected) for fault in cause.faults]
    return {str(name): str(did) for name, did in table.items()}


def identifiers_in(path: Path, names: list[str]) -> dict[str, str]:
    """Of a file that holds identifiers by member and nothing else; InputError with every fault in it."""
    faults: list[Fault] = []
    found = _identifiers(path, _table(path), names, faults)
    if faults:
        raise InputError(str(path), faults)
    return found


def _is_address(value: object) -> bool:
    return isinstance(value, str) and is_checksum_address(value)


def _token(path: Path, faults: list[Fault]) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as cause:
        faults.append(Fault(str(path), "credential", type(cause).__name__, "a credential by `walras enrol`"))
        return ""
