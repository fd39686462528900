"""The meters of a community: one a member, each with a P-256 key and a credential by the meter operator.

In a run the keys are derived from the run's seed: they stand in for the secure element of a real meter, and for nothing else.
The credentials are real ones: signed by the meter operator's key, read and checked before any reading is admitted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from walras.community.model import Community, Member
from walras.metering import (
    MeterCredential,
    Registry,
    derive_key,
    did_of,
    issue,
    registry_of_credentials,
    sign_reading,
    sign_readings,
)
from walras.metering.identity import PrivateKey
from walras.units import Int64

LEAST_CONNECTION_W = 22_000
"""What a house connection carries at least: 3 x 32 A at 230 V."""

VALIDITY = timedelta(days=8 * 365)
"""Calibration period of an electronic meter (German MessEV, annex 7: eight years)."""


@dataclass(frozen=True, slots=True)
class Meters:
    """Keys and credentials by member, and the registry that admission works with; and those of the feeder's own meter."""

    keys: tuple[PrivateKey, ...]
    credentials: tuple[str, ...]
    registry: Registry
    feeder_key: PrivateKey
    feeder: Registry

    def sign(self, slot: int, counter: int, net_wh: Int64) -> list[bytes]:
        """What every member's meter sends of `slot`; `net_wh` [members], positive taken from the grid."""
        same = len(self.keys)
        imports, exports = np.maximum(net_wh, 0), np.maximum(-net_wh, 0)
        return sign_readings(self.keys, range(same), [slot] * same, imports, exports, [counter] * same, [0] * same)

    def sign_feeder(self, slot: int, counter: int, net_wh: int) -> bytes:
        """What the transformer's meter sends; positive into the feeder."""
        return sign_reading(self.feeder_key, slot, max(net_wh, 0), max(-net_wh, 0), counter)


def run_seed(community: Community) -> bytes:
    """32 bytes from which a run draws everything: keys, salts, noise. The same community and seed, the same run."""
    return hashlib.sha256(f"walras run\n{community.name}\n{community.seed}".encode()).digest()


def make_meters(community: Community, seed: bytes) -> Meters:
    """One meter for each member, in their order."""
    operator = derive_key(seed, "meter operator")
    keys = tuple(derive_key(seed, f"meter/{member.id}") for member in community.members)
    credentials = tuple(
        issue(operator, _credential(community, index, member, did_of(key.public_key())))
        for index, (member, key) in enumerate(zip(community.members, keys, strict=True))
    )
    homes = registry_of_credentials(credentials, operator.public_key(), community.grid)
    feeder_key = derive_key(seed, "meter of the feeder")
    vouched = issue(operator, _feeder_credential(community, homes, did_of(feeder_key.public_key())))
    feeder = registry_of_credentials([vouched], operator.public_key(), community.grid)
    return Meters(keys, credentials, homes, feeder_key, feeder)


def _feeder_credential(community: Community, homes: Registry, device: str) -> MeterCredential:
    """The transformer's meter: it may carry what all connections together may."""
    per_hour = 60 // community.grid.minutes
    start = community.grid.origin
    return MeterCredential(
        device=device,
        member=len(community.members),
        node="transformer",
        technology="transformer",
        max_import_w=int(homes.max_import_wh.sum()) * per_hour,
        max_export_w=int(homes.max_export_wh.sum()) * per_hour,
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
