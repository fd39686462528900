"""Devices and gates in Python: who vouches for a meter, whether that holds, and who may come in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from walras.ledger.calls import Contract
from walras.ledger.chain import Chain, Receipt
from walras.ledger.identifiers import point_of
from walras.ledger.keys import SigningKey
from walras.metering.identity import PublicKey, key_id


class DeviceStatus(IntEnum):
    """As the contract has it; revoked is for good."""

    UNKNOWN = 0
    ACTIVE = 1
    SUSPENDED = 2
    REVOKED = 3


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """A device on the chain: `issuer` is the meter operator's address; times in Unix seconds, the last included."""

    issuer: str
    account: int
    status: DeviceStatus
    valid_from: int
    valid_until: int
    credential_hash: bytes


@dataclass(frozen=True, slots=True)
class GateList:
    """One list of a `ListGate`: its reason (at most 32 bytes of text), who writes it, and whether it keeps out who is on it."""

    name: str
    keeper: str
    denies: bool = False

    def as_arguments(self) -> tuple[bytes, str, bool]:
        """As the constructor takes it."""
        return (self.name.encode().ljust(32, b"\0"), self.keeper, self.denies)


def registry_id(key: PublicKey) -> bytes:
    """A device's id on the chain: the 16 bytes that name its key in a reading, then zeros."""
    return key_id(key).ljust(32, b"\x00")


def enter_device(
    chain: Chain,
    devices: Contract,
    meter_operator: SigningKey,
    key: PublicKey,
    account: int,
    credential_hash: bytes,
    valid: tuple[datetime, datetime],
    *,
    timestamp: int,
) -> Receipt:
    """Enter a device with its P-256 key, from a file or a TPM alike; LedgerError with the contract's refusal.

    `credential_hash` is of the credential, which stays off the chain; `valid` its first and last second (aware).
    """
    since, until = (int(moment.timestamp()) for moment in valid)
    entry = (*point_of(key), account, credential_hash, since, until)
    return devices.act(chain, meter_operator, "enterKey", *entry, timestamp=timestamp)


def device_signed(chain: Chain, devices: Contract, key: PublicKey, digest: bytes, signature: bytes, time: int) -> bool:
    """Whether the device with `key` counts at `time` [Unix s], and the contract finds r || s over `digest` to be its signature."""
    return bool(devices.view(chain, "isSigned", digest, signature[:32], signature[32:], *point_of(key), time)[0])


def device_record(chain: Chain, devices: Contract, key_id: bytes) -> DeviceRecord | None:
    """What the registry holds of a device, or None for one that was never entered."""
    issuer, account, status, valid_from, valid_until, credential = devices.view(chain, "deviceOf", key_id)
    if status == DeviceStatus.UNKNOWN:
        return None
    return DeviceRecord(issuer, account, DeviceStatus(status), valid_from, valid_until, bytes(credential))


def device_counts(chain: Chain, devices: Contract, key_id: bytes, time: int) -> bool:
    """Whether readings of the device at `time` [Unix s] count."""
    return bool(devices.view(chain, "isValid", key_id, time)[0])


def closed_by(chain: Chain, gate: Contract, who: str) -> str:
    """Why `who` may not come in; the empty text where it may."""
    return bytes(gate.view(chain, "closedBy", who)[0]).rstrip(b"\0").decode()
