"""What a gateway or an oracle of a community is made of: keys, registries, contract, from the community file alone.

In a trial every key follows from the community's seed, as the meters' do, so that nodes started apart know each other. In operation
each node is given a key of its own; what others must know of it is its address or DID, which it prints.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from walras.community import Community
from walras.errors import Fault, InputError
from walras.exchange.terms import Terms
from walras.ledger import (
    Genesis,
    LedgerAddresses,
    LedgerKeys,
    correction_digest,
    days_digest,
    plan_deployment,
    sign_attestation,
)
from walras.ledger.keys import SigningKey
from walras.metering import Rules, SubstituteRule, derive_key, did_of, key_id, public_key_of
from walras.metering.access import Right, issue_access
from walras.metering.feeder import Feeder
from walras.metering.flow_control import RateRule
from walras.metering.identity import PrivateKey
from walras.service.access_log import Guard
from walras.service.gateway_node import GatewayNode, Peer
from walras.service.oracle_node import Duty, OracleNode
from walras.service.oracle_words import Words
from walras.service.reading_store import ReadingStore
from walras.study.meters import Meters, make_meters, run_seed
from walras.study.runner import ledger_keys, make_terms
from walras.study.session import ledger_terms_of
from walras.study.trading import Trading

RIGHTS = (Right.VOTE, Right.READ, Right.CORRECT, Right.COMMIT, Right.LOG)
"""What the exchange may ask of the nodes."""

GATEWAY = "gateway"
"""The name that requests to a community's gateway are made for."""


@dataclass(frozen=True, slots=True)
class Appointment:
    """A community as its nodes see it."""

    community: Community
    terms: Terms
    meters: Meters
    keys: LedgerKeys
    trading: Trading
    seed: bytes

    @property
    def operator_key(self) -> PrivateKey:
        """Issues access credentials."""
        return access_issuer(self.seed)

    @property
    def exchange_key(self) -> PrivateKey:
        """Signs the exchange's requests."""
        return derive_key(self.seed, "exchange")

    @property
    def gateway_key(self) -> PrivateKey:
        """Signs the gateway's batches, where it is given no key of its own."""
        return derive_key(self.seed, "gateway")

    @property
    def exchange_credential(self) -> str:
        """The operator's word that the exchange may ask for votes, readings and words on settled slots, in all of the data."""
        grid = self.community.grid
        until = grid.end(self.community.slot_count) + timedelta(days=366)
        holder = did_of(self.exchange_key.public_key())
        return issue_access(self.operator_key, holder, RIGHTS, grid.origin, until)

    @property
    def addresses(self) -> LedgerAddresses:
        """Where the contracts of a run on the embedded chain stand: they follow from the keys."""
        chain_id = Genesis(()).chain_id
        return plan_deployment(self.keys, ledger_terms_of(self.terms, self.keys), chain_id).addresses

    def members(self) -> dict[bytes, int]:
        """Whose data a device's readings are; the feeder's meter counts as one more."""
        (feeder,) = self.meters.feeder.index
        return {**self.meters.registry.index, feeder: len(self.meters.keys)}


def access_issuer(seed: bytes) -> PrivateKey:
    """The operator's key for access credentials, in a trial."""
    return derive_key(seed, "access issuer")


def appointment(community: Community) -> Appointment:
    """All that follows from the community."""
    seed = run_seed(community)
    trading, keys = Trading(community), ledger_keys(seed)
    return Appointment(community, make_terms(community, trading, keys), make_meters(community, seed), keys, trading, seed)


def make_gateway(
    a: Appointment,
    key: PrivateKey,
    store: Path,
    master: bytes,
    peers: list[Peer],
    rate: RateRule,
    clock_ms: Callable[[], int],
    clock: Callable[[], datetime],
) -> GatewayNode:
    """A gateway of the community; `clock` dates requests of its log."""
    registries = (a.meters.registry, a.meters.feeder)
    devices = {kid: registry.keys[row] for registry in registries for kid, row in registry.index.items()}
    guard = Guard(a.operator_key.public_key(), GATEWAY)
    return GatewayNode(key, devices, ReadingStore(store, master, a.members()), peers, rate, clock_ms, (guard, clock))


def make_oracle(
    a: Appointment,
    number: int,
    signing: SigningKey,
    gateway: str | None,
    store: Path,
    master: bytes,
    clock: Callable[[], datetime],
    pool: Executor | None = None,
) -> OracleNode:
    """Oracle `number` of the community; InputError where there is no such oracle, or `signing` is not the appointed one's."""
    if not 0 <= number < len(a.terms.oracles):
        raise InputError("walras oracle", [Fault("command line", "NUMBER", number, f"0 to {len(a.terms.oracles) - 1}")])
    if signing.address != a.terms.oracles[number]:
        raise InputError("walras oracle", [Fault("key", "address", signing.address, f"the appointed {a.terms.oracles[number]}")])
    at = a.addresses
    gateway_key = a.gateway_key.public_key() if gateway is None else public_key_of(gateway)
    duty = Duty(
        number,
        a.meters.registry,
        Rules(a.community.grid, deadline=timedelta(seconds=a.terms.metering_deadline_s)),
        SubstituteRule(),
        {key_id(gateway_key): gateway_key},
        Feeder(a.meters.feeder, a.trading.network, a.trading.bus),
        Guard(a.operator_key.public_key(), signing.address),
        Words(
            timedelta(seconds=a.terms.dispute_window_s),
            lambda slot, revision, root: signing.sign_digest(correction_digest(at.chain_id, at.settlement, slot, revision, root)),
            lambda first, slots, root: signing.sign_digest(days_digest(at.chain_id, at.settlement, first, slots, root)),
        ),
    )
    return OracleNode(
        duty,
        ReadingStore(store, master, a.members()),
        lambda slot, root: sign_attestation(signing, at.chain_id, at.settlement, slot, root)[1],
        clock,
        pool,
    )
