"""What a gateway or an oracle of a community is made of: keys, registries, contract, from the community file alone.

In a trial every key follows from the community's seed, as the meters' do, so that nodes started apart know each other. In operation
everybody has a key of their own, and a `roll` says whose is which: names, addresses and credentials, and no secret.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from walras.community import Community
from walras.errors import Fault, InputError, MeteringError
from walras.exchange.terms import Terms
from walras.ledger import Genesis, LedgerAddresses, LedgerKeys, correction_digest, days_digest, sign_attestation
from walras.ledger.batch_deployment import planned_batches
from walras.ledger.calls import Contract
from walras.ledger.chain import ReadableChain
from walras.ledger.deployment import planned_addresses
from walras.ledger.keys import SigningKey
from walras.ledger.standing import BATCHES, Standing, read_standing
from walras.metering import Registry, Rules, SubstituteRule, derive_key, did_of, key_id, public_key_of
from walras.metering.access import Right, issue_access
from walras.metering.balance_oracle import BalanceDuty, BalanceOracle
from walras.metering.editing import judge_edit
from walras.metering.feeder import Feeder
from walras.metering.flow_control import RateRule
from walras.metering.identity import Key, PrivateKey, PublicKey
from walras.service.access_log import Guard
from walras.service.balance_node import BalanceNode
from walras.service.exchange_book import ExchangeBook
from walras.service.gateway_node import GatewayNode, Peer
from walras.service.message_store import MessageStore
from walras.service.oracle_batches import BatchDuty
from walras.service.oracle_node import Duty, OracleNode
from walras.service.oracle_words import Words
from walras.service.rate_limits import HostLimits
from walras.service.reading_store import ReadingStore
from walras.service.roll import EXCHANGE, Roll, read_exchanged_key, read_key_places, read_roll
from walras.service.status_bits import status_bits
from walras.service.status_file import StatusFile
from walras.study.chain_identifiers import ChainIdentifiers, rows_of
from walras.study.hanging import KeyOf
from walras.study.meters import Meters, access_issuer, make_meters, run_seed
from walras.study.runner import ledger_keys, make_terms
from walras.study.trading import Trading

RIGHTS = (Right.VOTE, Right.READ, Right.CORRECT, Right.COMMIT, Right.BATCH, Right.LOG)
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
    roll: Roll | None = None
    own_exchange_key: Key | None = None
    standing: Standing | None = None
    exchanged_key: KeyOf | None = None

    @property
    def operator(self) -> PublicKey:
        """Who issues access credentials, and with a roll the meters' as well."""
        return self.operator_key.public_key() if self.roll is None else self.roll.operator

    @property
    def operator_key(self) -> PrivateKey:
        """Issues access credentials, where keys follow from the seed."""
        return access_issuer(self.seed)

    @property
    def exchange_key(self) -> Key:
        """Signs the exchange's requests. MeteringError with a roll, where this process is not the exchange."""
        if self.roll is None:
            return derive_key(self.seed, "exchange")
        if self.own_exchange_key is None:
            raise MeteringError("the exchange's key is the exchange's", thing="exchange")
        return self.own_exchange_key

    @property
    def gateway(self) -> PublicKey:
        """Whose batches an oracle takes."""
        return self.gateway_key.public_key() if self.roll is None else self.roll.gateway

    @property
    def gateway_key(self) -> PrivateKey:
        """Signs the gateway's batches, where keys follow from the seed."""
        return derive_key(self.seed, "gateway")

    @property
    def exchange_credential(self) -> str:
        """The operator's word that the exchange may ask for votes, readings and words on settled slots, in all of the data."""
        if self.roll is not None:
            return self.roll.exchange
        return exchange_credential(self.community, self.operator_key, did_of(self.exchange_key.public_key()))

    @property
    def addresses(self) -> LedgerAddresses:
        """Where the contracts stand: by the manifest, or on the embedded chain, where they follow from the admin's address."""
        if self.standing is not None:
            return self.standing.addresses
        admin = self.keys.admin.address if self.roll is None else self.roll.admin
        return planned_addresses(admin, Genesis(()).chain_id)

    @property
    def batches(self) -> Contract:
        """Where the contract of a run that settles in batches stands; InputError where the manifest has none."""
        if self.standing is not None:
            added = self.standing.added.get(BATCHES)
            if added is None:
                expected = f"a {BATCHES}, as `walras deploy --contracts {BATCHES}` adds it"
                raise InputError(str(self.standing.manifest), [Fault("additions", BATCHES, "missing", expected)])
            return Contract(BATCHES, self.standing.addresses.chain_id, added.address)
        admin = self.keys.admin.address if self.roll is None else self.roll.admin
        return planned_batches(admin, Genesis(()).chain_id)

    def members(self) -> dict[bytes, int]:
        """Whose data a device's readings are; the feeder's meter counts as one more."""
        (feeder,) = self.meters.feeder.index
        return {**self.meters.registry.index, feeder: len(self.meters.registry.keys)}


def editor_credential(community: Community, operator: Key, editor: str) -> str:
    """The operator's word that the holder of that DID may edit readings."""
    grid = community.grid
    until = max(grid.end(community.slot_count), datetime.now(UTC).replace(microsecond=0)) + timedelta(days=366)
    return issue_access(operator, editor, [Right.EDIT], grid.origin, until)


def exchange_credential(community: Community, operator: Key, exchange: str) -> str:
    """What `Appointment.exchange_credential` is, issued by the operator for the exchange with that DID."""
    grid = community.grid
    until = grid.end(community.slot_count) + timedelta(days=366)
    return issue_access(operator, exchange, RIGHTS, grid.origin, until)


def appointment(community: Community, roll: Path | None = None, manifest: Path | None = None) -> Appointment:
    """All that follows from the community, from the roll where there is one, and from the manifest of contracts that stand."""
    standing = None if manifest is None else read_standing(manifest)
    return replace(_appointment(community, roll), standing=standing)


def _appointment(community: Community, roll: Path | None) -> Appointment:
    seed = run_seed(community)
    trading, keys = Trading(community), ledger_keys(seed)
    if roll is None:
        return Appointment(community, make_terms(community, trading, keys), make_meters(community, seed), keys, trading, seed)
    held = read_roll(roll, community)
    keys = LedgerKeys(keys.seed, held.oracles, held.accounts, held.balance)
    terms = make_terms(community, trading, keys)
    return Appointment(community, terms, held.meters(community), keys, trading, seed, held)


def appointed_exchange(community: Community, roll: Path, places: Path, secret: bytes, passphrase: bytes | None) -> Appointment:
    """The exchange under a roll: with its own key, those of the devices it drives, and the ledger's under `secret` (32 bytes).

    InputError where the admin of the roll is not that of the secret.
    """
    a = appointment(community, roll)
    assert a.roll is not None
    keys = LedgerKeys(secret, a.roll.oracles, a.roll.accounts, a.roll.balance)
    if keys.admin.address != a.roll.admin:
        raise InputError(str(roll), [Fault(str(roll), "admin", a.roll.admin, f"{keys.admin.address}, that of --secret")])
    opened = read_key_places(places, community, passphrase)

    def exchanged(account: int, slot: int) -> Key:
        return read_exchanged_key(places, community.members[account].id, slot, passphrase)

    return replace(
        a, keys=keys, meters=a.roll.meters(community, opened), own_exchange_key=opened[EXCHANGE], exchanged_key=exchanged
    )


def make_gateway(
    a: Appointment,
    key: Key,
    store: Path,
    master: bytes,
    peers: list[Peer],
    rate: RateRule,
    clock_ms: Callable[[], int],
    clock: Callable[[], datetime],
    say: Callable[[str], None] | None = None,
) -> GatewayNode:
    """A gateway of the community; `clock` dates requests of its log. InputError where the roll appoints another key.

    `say` is told of what an oracle refuses for good.
    """
    if a.roll is not None and did_of(key.public_key()) != did_of(a.roll.gateway):
        appointed = f"{did_of(a.roll.gateway)}, which the roll appoints"
        raise InputError("walras gateway", [Fault("key", "did", did_of(key.public_key()), appointed)])
    registries = (a.meters.registry, a.meters.feeder)
    devices = {kid: registry.keys[row] for registry in registries for kid, row in registry.index.items()}
    guard = Guard(a.operator, GATEWAY)
    kept = ReadingStore(store, master, a.members())
    book = ExchangeBook(a.meters.generations(a.community), kept)
    return GatewayNode(key, devices, kept, peers, rate, clock_ms, (guard, clock), book, say)


def revoked_keys(
    a: Appointment, chain: ReadableChain | None, hung: Callable[[], tuple[Sequence[Registry], Sequence[str]]]
) -> Callable[[datetime], Collection[bytes]] | None:
    """Who says which keys are revoked: the operator's status list, and the chain for devices that have an identifier there.

    `hung` are the registries, as meters have been exchanged by then, and the credentials of those that came.
    """
    if a.roll is None:
        return None
    roll, said = a.roll, list[Callable[[datetime], Sequence[bytes]]]()
    if roll.status is not None:
        first = status_bits([*roll.tokens, roll.transformer], a.operator)

        def bits() -> dict[bytes, int]:
            return first | status_bits(hung()[1], a.operator)

        said.append(StatusFile(roll.status, a.operator, bits))
    if a.roll.identifiers:
        if chain is None:
            faults = [Fault("command line", "--chain", None, "a node: the roll has identifiers of devices, which the chain knows")]
            raise InputError("walras oracle", faults)
        identifiers = ChainIdentifiers(chain, rows_of(a.community, roll.identifiers))
        said.append(lambda _: identifiers.silent(hung()[0]))
    return (lambda now: {kid for ask in said for kid in ask(now)}) if said else None


def make_oracle(
    a: Appointment,
    number: int,
    signing: SigningKey,
    gateway: str | None,
    store: Path,
    master: bytes,
    clock: Callable[[], datetime],
    pool: Executor | None = None,
    chain: ReadableChain | None = None,
    limits: HostLimits | None = None,
) -> OracleNode:
    """Oracle `number` of the community; InputError where there is no such oracle, or `signing` is not the appointed one's.

    `chain` is asked whose key still speaks, where the roll has identifiers of devices.
    """
    if not 0 <= number < len(a.terms.oracles):
        raise InputError("walras oracle", [Fault("command line", "NUMBER", number, f"0 to {len(a.terms.oracles) - 1}")])
    if signing.address != a.terms.oracles[number]:
        raise InputError("walras oracle", [Fault("key", "address", signing.address, f"the appointed {a.terms.oracles[number]}")])
    at = a.addresses
    gateway_key = a.gateway if gateway is None else public_key_of(gateway)
    kept = ReadingStore(store, master, a.members())
    book = ExchangeBook(a.meters.generations(a.community), kept)
    duty = Duty(
        number,
        a.meters.registry,
        Rules(a.community.grid, deadline=timedelta(seconds=a.terms.metering_deadline_s)),
        SubstituteRule(),
        {key_id(gateway_key): gateway_key},
        Feeder(a.meters.feeder, a.trading.network, a.trading.bus),
        Guard(a.operator, signing.address),
        revoked_keys(a, chain, lambda: (book.generations.registries, [one.credential for one in book.generations.exchanges])),
        Words(
            timedelta(seconds=a.terms.dispute_window_s),
            lambda slot, revision, root: signing.sign_digest(correction_digest(at.chain_id, at.settlement, slot, revision, root)),
            lambda first, slots, root: signing.sign_digest(days_digest(at.chain_id, at.settlement, first, slots, root)),
            lambda edit: judge_edit(edit, a.operator, at.settlement, len(a.community.members)),
        ),
        book,
        None if a.terms.batches is None else BatchDuty(a.terms, a.batches, a.trading.item_micro, signing.sign_digest),
    )
    return OracleNode(
        duty,
        kept,
        lambda slot, root: sign_attestation(signing, at.chain_id, at.settlement, slot, root)[1],
        clock,
        pool,
        limits,
    )


def make_balance(
    a: Appointment,
    signing: SigningKey,
    store: Path,
    clock: Callable[[], datetime],
    limits: HostLimits | None = None,
    chain: ReadableChain | None = None,
) -> BalanceNode:
    """The balance oracle of the community; InputError where it has none, or `signing` is not the appointed one's.

    `chain` as in `make_oracle`.
    """
    if a.terms.balance_oracle is None:
        faults = [Fault(a.community.name, "[metering] aggregation", a.community.metering.aggregation, "masked")]
        raise InputError("walras balance", faults)
    if signing.address != a.terms.balance_oracle:
        raise InputError("walras balance", [Fault("key", "address", signing.address, f"the appointed {a.terms.balance_oracle}")])
    rules = Rules(a.community.grid, deadline=timedelta(seconds=a.terms.metering_deadline_s))
    duty = BalanceDuty(a.meters.registry, rules, Feeder(a.meters.feeder, a.trading.network, a.trading.bus), a.meters.operator)
    messages, at = MessageStore(store), a.addresses
    oracle = BalanceOracle(duty, messages, clock)
    guard, bound = Guard(a.operator, signing.address), (at.chain_id, at.settlement)
    revoked = revoked_keys(a, chain, lambda: (oracle.registries(), oracle.credentials()))
    return BalanceNode(oracle, messages, guard, signing.sign_digest, bound, clock, limits, revoked)
