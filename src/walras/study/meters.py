"""The meters of a community: one a member, each with a P-256 key and a credential by the meter operator.

In a run the keys are derived from the run's seed: they stand in for the secure element of a real meter, and for nothing else;
or they are real ones, of files or TPMs, under credentials issued before (`vouched_meters`).
The credentials are real ones: signed by the meter operator's key, read and checked before any reading is admitted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from walras.community.model import Community, Member
from walras.errors import Fault, InputError, MeteringError
from walras.metering import (
    Key,
    MeterCredential,
    Registry,
    derive_key,
    did_of,
    issue,
    read_credential,
    registry_of_credentials,
    sign_reading,
    sign_readings,
)
from walras.metering.identity import PrivateKey, PublicKey
from walras.metering.meter_exchange import Generations, one_generation
from walras.units import Int64

LEAST_CONNECTION_W = 22_000
"""What a house connection carries at least: 3 x 32 A at 230 V."""

TRANSFORMER = "transformer"
"""The name of the feeder's own meter where a member's id could stand."""

VALIDITY = timedelta(days=8 * 365)
"""Calibration period of an electronic meter (German MessEV, annex 7: eight years)."""


@dataclass(frozen=True, slots=True)
class Meters:
    """Keys and credentials by member, and the registry that admission works with; and those of the feeder's own meter.

    A node that only admits has no keys: `keys` is empty, `feeder_key` None. `operator` vouches for all of them.
    """

    keys: tuple[Key, ...]
    credentials: tuple[str, ...]
    registry: Registry
    feeder_key: Key | None
    feeder: Registry
    operator: PublicKey

    def generations(self, community: Community) -> Generations:
        """The members' registry as meter exchanges change it, which `operator` states."""
        return one_generation(self.registry, self.operator, community.grid)

    def sign(self, slot: int, counter: int, net_wh: Int64) -> list[bytes]:
        """What every member's meter sends of `slot`; `net_wh` [members], positive taken from the grid.

        `counter` is that of simulated meters; a key store counts for itself.
        """
        same = len(self.keys)
        imports, exports = np.maximum(net_wh, 0), np.maximum(-net_wh, 0)
        counters = [_count(key, counter) for key in self.keys]
        return sign_readings(self.keys, range(same), [slot] * same, imports, exports, counters, [0] * same)

    def sign_feeder(self, slot: int, counter: int, net_wh: int) -> bytes:
        """What the transformer's meter sends; positive into the feeder."""
        if self.feeder_key is None:
            raise MeteringError("the feeder's meter signs elsewhere", thing="feeder")
        return sign_reading(self.feeder_key, slot, max(net_wh, 0), max(-net_wh, 0), _count(self.feeder_key, counter))


def _count(key: Key, simulated: int) -> int:
    return simulated if isinstance(key, PrivateKey) else key.next_counter()


def run_seed(community: Community) -> bytes:
    """32 bytes from which a run draws everything: keys, salts, noise. The same community and seed, the same run."""
    return hashlib.sha256(f"walras run\n{community.name}\n{community.seed}".encode()).digest()


def access_issuer(seed: bytes) -> PrivateKey:
    """The operator's key for access credentials, where keys follow from the seed."""
    return derive_key(seed, "access issuer")


def meter_operator(seed: bytes) -> PrivateKey:
    """Who vouches for meters, where keys follow from the seed."""
    return derive_key(seed, "meter operator")


def make_meters(community: Community, seed: bytes) -> Meters:
    """One meter for each member, in their order."""
    operator = meter_operator(seed)
    keys = tuple(derive_key(seed, f"meter/{member.id}") for member in community.members)
    credentials = tuple(
        issue(operator, _credential(community, index, member, did_of(key.public_key())))
        for index, (member, key) in enumerate(zip(community.members, keys, strict=True))
    )
    homes = registry_of_credentials(credentials, operator.public_key(), community.grid)
    feeder_key = derive_key(seed, "meter of the feeder")
    per_hour = 60 // community.grid.minutes
    limits = int(homes.max_import_wh.sum()) * per_hour, int(homes.max_export_wh.sum()) * per_hour
    vouched = issue(operator, _feeder_credential(community, *limits, did_of(feeder_key.public_key())))
    feeder = registry_of_credentials([vouched], operator.public_key(), community.grid)
    return Meters(keys, credentials, homes, feeder_key, feeder, operator.public_key())


def vouched_meters(
    community: Community,
    tokens: Sequence[str],
    feeder_token: str,
    operator: PublicKey,
    keys: Sequence[Key] = (),
    feeder: Key | None = None,
) -> Meters:
    """Meters under credentials that the meter operator issued, in the members' order; `keys` where this process signs for them.

    InputError names every credential that does not hold, is another member's, or is for another key than the one given.
    """
    homes = registry_of_credentials(tokens, operator, community.grid)
    through = registry_of_credentials([feeder_token], operator, community.grid)
    held = [*zip(range(len(tokens)), tokens, [*homes.keys], strict=True), (len(tokens), feeder_token, through.keys[0])]
    signing = [*keys, *([] if feeder is None else [feeder])]
    faults: list[Fault] = []
    bits: dict[int, str] = {}
    for row, token, key in held:
        name = community.members[row].id if row < len(community.members) else TRANSFORMER
        credential = read_credential(token, operator)
        if isinstance(credential, MeterCredential):
            if credential.member != row:
                faults.append(Fault(f"credential of {name}", "member", credential.member, f"{row}, its place here"))
            other = bits.setdefault(credential.status_index, name)
            if other != name:
                expected = f"a bit of its own: that of {other} would revoke both; enrol one again"
                faults.append(Fault(f"credential of {name}", "status_index", credential.status_index, expected))
        if signing and did_of(signing[row].public_key()) != did_of(key):
            faults.append(
                Fault(f"key of {name}", "did", did_of(signing[row].public_key()), f"{did_of(key)}, that of the credential")
            )
    if faults:
        raise InputError("meters", faults)
    return Meters(tuple(keys), tuple(tokens), homes, feeder, through, operator)


def meter_credential(community: Community, name: str, device: str, bit: int | None = None) -> MeterCredential:
    """What the community file says of the meter of member `name`, or of the transformer's, for the device with that DID.

    `bit` is its index in the operator's status list: one that was never given before, and says nothing of whose it is. None takes
    the member's place, for keys that follow from a seed, which no list revokes. InputError for a name that is neither.
    """
    made = _meter_credential(community, name, device)
    return made if bit is None else replace(made, status_index=bit)


def _meter_credential(community: Community, name: str, device: str) -> MeterCredential:
    for index, member in enumerate(community.members):
        if member.id == name:
            return _credential(community, index, member, device)
    if name != TRANSFORMER:
        known = ", ".join(member.id for member in community.members)
        raise InputError("meter", [Fault(community.name, "member", name, f"{TRANSFORMER}, or one of {known}")])
    limits = [_credential(community, index, member, device) for index, member in enumerate(community.members)]
    imports, exports = sum(one.max_import_w for one in limits), sum(one.max_export_w for one in limits)
    return _feeder_credential(community, imports, exports, device)


def _feeder_credential(community: Community, max_import_w: int, max_export_w: int, device: str) -> MeterCredential:
    """The transformer's meter: it may carry what all connections together may."""
    start = community.grid.origin
    return MeterCredential(
        device=device,
        member=len(community.members),
        node=TRANSFORMER,
        technology=TRANSFORMER,
        max_import_w=max_import_w,
        max_export_w=max_export_w,
        calibrated_until=start + VALIDITY,
        valid_from=start - timedelta(days=1),
        valid_until=start + VALIDITY,
        status_index=len(community.members),
    )


def _credential(community: Community, index: int, member: Member, device: str) -> MeterCredential:
    battery = member.battery.power_w if member.battery else 0
    imports = sum(load.peak_w for load in member.loads) + battery
    exports = sum(plant.peak_w for plant in member.pv) + battery
    start = community.grid.origin
    technology = "+".join(["load"] + ["solar"] * bool(member.pv) + ["battery"] * bool(member.battery))
    return MeterCredential(
        device=device,
        member=index,
        node=member.node,
        technology=technology,
        max_import_w=max(2 * imports, LEAST_CONNECTION_W),
        max_export_w=max(2 * exports, LEAST_CONNECTION_W),
        calibrated_until=start + VALIDITY,
        valid_from=start - timedelta(days=1),
        valid_until=start + VALIDITY,
        status_index=index,
    )
