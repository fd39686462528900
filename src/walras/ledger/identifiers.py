"""Decentralised identifiers on the chain, in Python: their names, their documents, and whose key spoke when.

    did:walras:<chain id>:<registry, 40 hex digits>:<identifier, 64 hex digits>

The contract (`DidRegistry`) holds controller, recovery address and every P-256 key with its times. Here they become a DID document
(W3C DID Core 1.0) and, for the admission of readings, the public key that spoke at a time: a signature is judged by the key of
its own time, so a reading signed before a rotation stays good, and one signed by a key after its revocation never is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from eth_utils.address import to_checksum_address

from walras.errors import Fault, InputError, LedgerError
from walras.ledger.calls import Contract, create
from walras.ledger.chain import Chain
from walras.ledger.keys import SigningKey
from walras.ledger.transactions import DEFAULT_FEES, Fees
from walras.metering.identity import PublicKey, did_of

NAME = "DidRegistry"
OPEN = 2**64 - 1
_DID = re.compile(r"did:walras:(\d+):([0-9a-f]{40}):([0-9a-f]{64})")
_NO_ADDRESS = "0x" + "0" * 40


@dataclass(frozen=True, slots=True)
class KeyPeriod:
    """A key and when it spoke: Unix seconds, half-open; `until` is None while it does."""

    key: PublicKey
    since: int
    until: int | None


@dataclass(frozen=True, slots=True)
class Identifier:
    """What the registry holds of one identifier. `controller` and `recovery` are addresses, None for no recovery."""

    did: str
    controller: str
    recovery: str | None
    deactivated: bool
    keys: tuple[KeyPeriod, ...]

    def key_at(self, time: int) -> PublicKey | None:
        """The key that spoke at `time` [Unix s]; None where none did."""
        for period in self.keys:
            if period.since <= time and (period.until is None or time < period.until):
                return period.key
        return None

    def document(self) -> dict[str, Any]:
        """The DID document: the current key, if there is one, asserts and authenticates."""
        current = next((period.key for period in self.keys if period.until is None), None)
        methods = []
        if current is not None and not self.deactivated:
            multibase = did_of(current).removeprefix("did:key:")
            methods = [{"id": f"{self.did}#key", "type": "Multikey", "controller": self.did, "publicKeyMultibase": multibase}]
        names = [method["id"] for method in methods]
        return {
            "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
            "id": self.did,
            "controller": f"did:pkh:eip155:{self.did.split(':')[2]}:{self.controller}",
            "verificationMethod": methods,
            "assertionMethod": names,
            "authentication": names,
        }


def point_of(key: PublicKey) -> tuple[bytes, bytes]:
    """The coordinates of a P-256 key, 32 bytes each."""
    numbers = key.public_numbers()
    return numbers.x.to_bytes(32, "big"), numbers.y.to_bytes(32, "big")


def name_of(contract: Contract, identifier: bytes) -> str:
    """The DID of an identifier in a registry."""
    return f"did:walras:{contract.chain_id}:{contract.address[2:].lower()}:{identifier.hex()}"


def create_identifier(
    chain: Chain,
    contract: Contract,
    controller: SigningKey,
    key: PublicKey,
    recovery: str | None,
    *,
    timestamp: int,
    fees: Fees = DEFAULT_FEES,
) -> str:
    """Create the controller's identifier with its first key; its DID. LedgerError with the contract's refusal."""
    named = recovery or _NO_ADDRESS
    receipt = contract.act(chain, controller, "create", *point_of(key), named, timestamp=timestamp, fees=fees)
    created = next(content for event, content in contract.events(receipt) if event == "Created")
    return name_of(contract, bytes(created["id"]))


def resolve(chain: Chain, contract: Contract, did: str) -> Identifier:
    """What the chain says of `did` now. InputError for a name that is none of this registry; LedgerError where there is no such."""
    identifier = identifier_of(contract, did)
    controller, recovery, _, _, _, deactivated = contract.view(chain, "didOf", identifier)
    if controller == _NO_ADDRESS:
        raise LedgerError(f"{did}: no such identifier", thing=did, way_out="create it, or ask the registry it is in")
    periods = tuple(
        KeyPeriod(_key(x, y), int(since), None if until == OPEN else int(until))
        for since, until, x, y in contract.view(chain, "keysOf", identifier)[0]
    )
    guardian = None if recovery == _NO_ADDRESS else to_checksum_address(recovery)
    return Identifier(did, to_checksum_address(controller), guardian, bool(deactivated), periods)


def registry_in(did: str) -> Contract:
    """The registry that a name is in; InputError for a name of another method."""
    found = _DID.fullmatch(did)
    if found is None:
        raise InputError("did", [Fault("did", "name", did, "did:walras:CHAIN:REGISTRY:IDENTIFIER")])
    return Contract(NAME, int(found[1]), to_checksum_address("0x" + found[2]))


def identifier_of(contract: Contract, did: str) -> bytes:
    """The 32 bytes of `did`; InputError for another method, chain or registry."""
    found = _DID.fullmatch(did)
    expected = f"did:walras:{contract.chain_id}:{contract.address[2:].lower()}:…"
    if found is None or name_of(contract, bytes.fromhex(found[3])) != did:
        raise InputError("did", [Fault("did", "name", did, expected)])
    return bytes.fromhex(found[3])


def deploy_registry(chain: Chain, key: SigningKey, recovery_delay_s: int, *, timestamp: int) -> Contract:
    """A new registry; recoveries take `recovery_delay_s` seconds."""
    return create(chain, key, NAME, recovery_delay_s, timestamp=timestamp)


def _key(x: bytes, y: bytes) -> PublicKey:
    """LedgerError for a point that is not on the curve: the contract takes any."""
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1())
    try:
        return numbers.public_key()
    except ValueError as cause:
        raise LedgerError("the registry holds a point that is not on P-256", thing=x.hex(), way_out="rotate the key") from cause
