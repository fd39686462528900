"""A ledger with an issuing body, certificates and claims beside it, and slots settled over real readings trees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from ledger_world import SEED, World
from walras.ledger import Header, NetPositions, SlotSettlement, join_signatures, net_positions, next_slot, settle, sign_attestation
from walras.ledger.calls import Contract, create
from walras.ledger.certificates import SettledRecord
from walras.ledger.claims import SettledRoot, settled_root
from walras.ledger.issuance import IssuingBody, admit_community, appoint_issuer, found_issuing_body, register_meter
from walras.ledger.leaf_proofs import ShownLeaf, meter_key, shown_leaf
from walras.metering import derive_key, sign_reading, tree_over
from walras.metering.vault import SALT_BYTES

LIFE = 6  # slots for which a claim lives


def meter(account: int) -> object:
    """The P-256 key in the meter of `account`."""
    return derive_key(SEED, f"meter/{account}")


def issuing(world: World) -> IssuingBody:
    """An issuing body that knows the world's members by one meter each."""
    admin, now = world.keys.admin, world.now
    body = found_issuing_body(world.chain, admin, timestamp=now)
    admit_community(world.chain, body, admin, world.addresses, timestamp=now)
    for account in range(world.members):
        key = meter_key(meter(account).public_key())
        register_meter(world.chain, body, world.keys.operator, world.addresses.registry, account, key, timestamp=now)
    return body


def certificates_of(world: World, body: IssuingBody) -> Contract:
    """A certificates contract, appointed."""
    terms = (world.addresses.settlement, body.issuance.address, "urn:walras:test:{id}")
    made = create(world.chain, world.keys.admin, "EnergyCertificates", *terms, timestamp=world.now)
    appoint_issuer(world.chain, body, world.keys.admin, made, world.addresses, timestamp=world.now)
    return made


def claims_of(world: World, body: IssuingBody, life: int = LIFE) -> Contract:
    """A claims contract, appointed."""
    terms = (world.addresses.settlement, body.issuance.address, life, "urn:walras:test:{id}")
    made = create(world.chain, world.keys.admin, "EnergyClaims", *terms, timestamp=world.now)
    appoint_issuer(world.chain, body, world.keys.admin, made, world.addresses, timestamp=world.now)
    return made


@dataclass(frozen=True, slots=True)
class Delivered:
    """A settled slot over a real tree: one leaf a member, in their order."""

    slot: int
    leaves: tuple[bytes, ...]
    header: Header
    positions: NetPositions

    @property
    def settled(self) -> SettledRoot:
        return settled_root(self.header, self.positions)

    @property
    def record(self) -> SettledRecord:
        return SettledRecord(self.header, self.positions)

    def shown(self, account: int) -> ShownLeaf:
        return shown_leaf(self.leaves[account], tree_over(self.leaves).proof(account))


def salted(leaf: bytes) -> bytes:
    """A leaf with a salt before it, as it stands under the root."""
    return sha256(leaf).digest()[:SALT_BYTES] + leaf


def reading(account: int, slot: int, export_wh: int, *, import_wh: int = 0, quality: int = 0) -> bytes:
    """A reading that the member's meter signed, salted."""
    return salted(sign_reading(meter(account), slot, import_wh, export_wh, slot + 1, quality))


def settle_leaves(world: World, slot: int, leaves: tuple[bytes, ...], positions: NetPositions) -> Delivered:
    """Three oracles attest the root over `leaves`, the operator settles."""
    header = Header(tree_over(leaves).root, bytes(32), slot.to_bytes(32, "big"))
    keys = [world.keys.oracle(index) for index in (0, 1, 2)]
    settlement = world.addresses.settlement
    signed = [sign_attestation(key, world.chain.chain_id, settlement, slot, header.readings_root) for key in keys]
    content = SlotSettlement(slot, header, positions, join_signatures(signed))
    settle(world.chain, world.addresses, world.keys.operator, content, timestamp=world.now)
    return Delivered(slot, leaves, header, positions)


def deliver(world: World, exports: Mapping[int, int], positions: NetPositions | None = None) -> Delivered:
    """The next slot: members feed in `exports` [Wh], everybody else nothing; nothing is traded unless `positions` says so."""
    slot = next_slot(world.chain, world.addresses)
    leaves = tuple(reading(account, slot, exports.get(account, 0)) for account in range(world.members))
    return settle_leaves(world, slot, leaves, net_positions([], [], []) if positions is None else positions)


def move_on(world: World, slots: int) -> None:
    """Settle an empty slot `slots` ahead of the newest."""
    slot = next_slot(world.chain, world.addresses) + slots - 1
    settle_leaves(world, slot, (b"",), net_positions([], [], []))
