"""From a community file to a finished run in a folder: what `walras run` does.

The folder holds `public.jsonl` and `HEAD` for everybody; `journal.sqlite`, and in `community.sealed` the file that the run was
made from, for whom `access.json` lets open them (`exchange.folder`). Started again on a folder whose run was cut off, it goes on
where the journal ends.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np

from walras.community import Community, load_community, read_community, with_period
from walras.errors import Fault, InputError, JournalError
from walras.exchange import folder
from walras.exchange.acts import acts_of, record_act
from walras.exchange.batch_terms import BatchTerms
from walras.exchange.fold import ExchangeState
from walras.exchange.journal import Journal, read_public_record, write_public_record
from walras.exchange.network_charges import NetworkCharges
from walras.exchange.publishing_terms import PublishingTerms
from walras.exchange.recorder import Recorder
from walras.exchange.sealed import KeySource, OwnKeys
from walras.exchange.terms import Terms
from walras.exchange.watch_batches import stated_positions
from walras.exchange.wires import Required, Wires
from walras.ledger import EmbeddedChain, Fees, Genesis, JsonRpcChain, LedgerKeys, NodeSettings, ReadableChain
from walras.ledger.profiles import PROFILES, fees_of
from walras.ledger.standing import Standing, read_standing
from walras.ledger.transactions import DEFAULT_FEES
from walras.market.registry import MECHANISMS
from walras.metering import Rules
from walras.metering.balance_oracle import BalanceDuty
from walras.metering.feeder import Feeder
from walras.study.chain_identifiers import identifiers_on
from walras.study.ground import stand_on
from walras.study.hanging import KeyOf, exchanged_keys
from walras.study.ledger_rules import UNITS_PER_CURRENCY, genesis_time
from walras.study.masked import BalancePath, InProcessBalance, MaskedMeters
from walras.study.meters import Meters, access_issuer, make_meters, run_seed
from walras.study.oracles import KEPT_DAYS, InProcess, MeteringPath, usual_delay_s
from walras.study.parts import Parts
from walras.study.session import Session
from walras.study.trading import Trading

BATCHES: Literal["batches"] = "batches"
NODAL: Literal["nodal"] = "nodal"
MASKED: Literal["masked"] = "masked"
WATCHED = "watched"
JOURNAL, PUBLIC, COMMUNITY = folder.JOURNAL, folder.PUBLIC, folder.COMMUNITY


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line may change: first local day, number of days, the chain's URL, whether to begin anew, the mechanism.

    `secret` is the operator's, for the members' keys (`journal_keys`). `appointed`: who holds which key, where they do not all
    follow from the community's seed. `until`: stop after the slot that ends by then. `clock` is told the time of the replay as each
    slot's gate closes. `manifest`: of contracts that stand, to settle on instead of the file's own or new ones; `after`: runs that
    posted batches there before (folders, or public records), where a committee published them. `identifiers`: by member, what
    the chain names its device; keys are heard while they speak for it.
    """

    start: date | None = None
    days: int | None = None
    chain_url: str | None = None
    fresh: bool = False
    mechanism: str | None = None
    secret: bytes | None = None
    appointed: Appointed | None = None
    until: datetime | None = None
    clock: Callable[[datetime], None] | None = None
    manifest: Path | None = None
    after: tuple[Path, ...] = ()
    identifiers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Appointed:
    """Meters with keys of their own, the ledger's actors, and the keys of meters that are hung in others' places."""

    meters: Meters
    keys: LedgerKeys
    exchanged_key: KeyOf | None = None


PathMaker = Callable[[Community, Sequence[bytes]], MeteringPath]
"""From the community and the secrets of its members' leaf salts to a metering path."""


class Run:
    """A run in a folder. Iterate it: each settled slot; afterwards `head`, `state` and the public record are there."""

    def __init__(
        self,
        community_path: Path,
        out: Path,
        options: Options,
        path: PathMaker | None = None,
        balance: BalancePath | None = None,
    ) -> None:
        """`path` makes what leads from the meters to the oracles' votes; without it all of it is in this process.

        `balance` leads to the balance oracle, where the community has one; without it that is in this process too.
        """
        community = load_community(community_path)
        if options.mechanism is not None:
            community = with_mechanism(community, options.mechanism)
        self.community = with_period(community, start=options.start, days=options.days)
        standing = standing_of(self.community, community_path, options)
        if self.community.metering.aggregation == MASKED and path is not None and balance is None:
            expected = "none over a gateway and oracles of their own without a balance oracle of its own (--balance)"
            raise InputError(str(community_path), [Fault("[metering]", "aggregation", MASKED, expected)])
        faults = [*batch_faults(self.community), *(clock_faults(self.community) if path is not None else [])]
        if faults:
            raise InputError(str(community_path), faults)
        seed = run_seed(self.community)
        trading = Trading(self.community)
        appointed = options.appointed
        keys = keys_of_run(seed, options, standing)
        self.terms = make_terms(self.community, trading, keys)
        chain, fees = chain_of_run(keys, self.terms, options, standing)
        before = stated_before(options)
        ground = None if standing is None else stand_on(standing, chain, keys, self.terms, fees, self.community, before)
        if ground is not None and (options.fresh or not (out / JOURNAL).exists()):
            ground.check_next()
        if options.fresh and out.exists():
            _remove_run(out)
        out.mkdir(parents=True, exist_ok=True)
        self._out = out
        master = folder.begin(out, options.secret)
        self._journal = Journal(out / JOURNAL, journal_keys(seed, options.secret, master))
        self._journal.make_keys(len(self.community.members))
        self._recorder = Recorder(self._journal)
        meters = make_meters(self.community, seed) if appointed is None else appointed.meters
        secrets = self._journal.leaf_secrets(self.terms.members)
        self._pool = ThreadPoolExecutor(2)
        if path is None:
            feeder = Feeder(meters.feeder, trading.network, trading.bus)
            operator = access_issuer(seed).public_key() if appointed is None else meters.operator
            hung = meters.generations(self.community)
            named = identifiers_on(chain, self.community, options.identifiers)
            way: MeteringPath = InProcess(self.community, self.terms, hung, feeder, keys, secrets, operator, self._pool, named)
        else:
            way = path(self.community, secrets)
        self._path = way
        key_of = exchanged_keys(self.community, seed) if appointed is None else appointed.exchanged_key
        masked = None
        if self.terms.balance_oracle is not None:
            masked = MaskedMeters(meters.registry, meters.keys, secrets, balance or self._balance(meters, trading, keys))
        parts = Parts(self.community, self.terms, meters, keys, trading, chain, seed, secrets, way, ground, fees, masked, key_of)
        self._until = options.until
        self._clock = options.clock
        self._session = Session(parts, self._recorder)
        if not (out / COMMUNITY).exists():
            folder.seal_text(out, master, community_path.read_text(encoding="utf-8"), community_path.parent)

    def _balance(self, meters: Meters, trading: Trading, keys: LedgerKeys) -> InProcessBalance:
        rules = Rules(self.community.grid, deadline=timedelta(seconds=self.terms.metering_deadline_s))
        duty = BalanceDuty(meters.registry, rules, Feeder(meters.feeder, trading.network, trading.bus), meters.operator)
        return InProcessBalance(duty, keys.balance_oracle())

    @property
    def slots(self) -> int:
        """How many slots the run has."""
        return self.terms.last - self.terms.first + 1

    @property
    def resumed(self) -> int:
        """How many journal entries were there already."""
        return self._recorder.replayed

    @property
    def head(self) -> str:
        """Hash of the journal's last entry."""
        return self._recorder.head

    @property
    def state(self) -> ExchangeState:
        """The fold over the journal so far."""
        return self._recorder.state

    def __iter__(self) -> Iterator[int]:
        with self._pool:
            self._tell_time(self.terms.first)
            for slot in self._session.run():
                yield slot
                self._tell_time(slot + 1)
                if self._until is not None and self.terms.grid.end(slot) >= self._until:
                    break
        if self.state.closed:
            self._record_requests()
        write_public_record(self._journal, self._out / PUBLIC)
        self._journal.close()

    def _tell_time(self, slot: int) -> None:
        """The gate of `slot` closes next."""
        if self._clock is not None:
            self._clock(self.terms.grid.start(slot) - timedelta(seconds=self.terms.gate_closure_s))

    def _record_requests(self) -> None:
        """What the nodes were asked, each log once: a run that was over already, given again, adds nothing."""
        known = [(act.by, act.detail) for act in acts_of(self._journal.entries())]
        for act in self._path.acts():
            if (act.by, act.detail) not in known:
                record_act(self._journal, act)


def standing_of(community: Community, path: Path, options: Options) -> Standing | None:
    """The contracts that the run settles on, by `--manifest` or by `manifest` under `[ledger]`; None where it has its own made."""
    named = community.ledger.manifest
    manifest = options.manifest or (None if named is None else path.parent / named)
    return None if manifest is None else read_standing(manifest)


def stated_before(options: Options) -> dict[int, bytes]:
    """Positions by slot, as the records of the runs before state them."""
    records = [read_public_record(path if path.is_file() else path / PUBLIC) for path in options.after]
    return {slot: packed for record in records for slot, packed in stated_positions(record).items()}


def keys_of_run(seed: bytes, options: Options, standing: Standing | None) -> LedgerKeys:
    """The ledger's actors: as appointed; those of the secret, on contracts deployed with it; else those of the seed."""
    if options.appointed is not None:
        return options.appointed.keys
    if standing is not None and options.secret is not None:
        held = LedgerKeys(options.secret)
        if held.admin.address == standing.deployer:
            return held
    return ledger_keys(seed)


def chain_of_run(
    keys: LedgerKeys, terms: Terms, options: Options, standing: Standing | None
) -> tuple[ReadableChain, Callable[[], Fees]]:
    """The chain that a run settles on, and what it offers for gas at any moment: on contracts that stand as their profile says."""
    if options.chain_url is None:
        genesis = Genesis((keys.admin.address, keys.operator.address), timestamp=genesis_time(terms))
        if standing is not None:
            genesis = replace(genesis, chain_id=standing.addresses.chain_id, free_gas=standing.free_gas)
        return EmbeddedChain(genesis), lambda: DEFAULT_FEES
    profile = PROFILES["permissioned"] if standing is None else standing.profile
    settings = NodeSettings(receipt_timeout_s=profile.receipt_timeout_s, confirmations=profile.confirmations)
    expected = None if standing is None else standing.addresses.chain_id
    node = JsonRpcChain(options.chain_url, expected_chain_id=expected, settings=settings)
    return node, lambda: fees_of(profile, node.suggested_fees)


def with_mechanism(community: Community, name: str) -> Community:
    """Under another mechanism; `nodal` keeps its market and makes the limits hold. InputError for a name not on the shelf."""
    if name == NODAL:
        return replace(community, wires=replace(community.wires, limits=NODAL))
    if name not in MECHANISMS:
        known = ", ".join(sorted({*MECHANISMS, NODAL}))
        raise InputError("mechanism", [Fault("command line", "--mechanism", name, f"one of {known}")])
    return replace(community, market=replace(community.market, mechanism=name))


def make_terms(community: Community, trading: Trading, keys: LedgerKeys) -> Terms:
    """The public terms of a community's run."""
    slots = community.slots
    prices = trading.priced(slots.start).prices
    return Terms(
        name=community.name,
        currency=community.currency,
        grid=community.grid,
        first=slots.start,
        last=slots.stop - 1,
        mechanism=community.market.mechanism,
        conventions=community.market.conventions,
        rule=community.settlement.rule,
        short_micro_per_kwh=community.settlement.imbalance_short_micro_per_kwh,
        long_micro_per_kwh=community.settlement.imbalance_long_micro_per_kwh,
        contracts=prices.contracts,
        items=prices.items,
        local=community.local,
        contract_of=trading.contract_of,
        feed_in_micro=trading.feed_in_micro,
        gate_closure_s=60 * community.gates.gate_closure_minutes,
        metering_deadline_s=60 * community.gates.metering_deadline_minutes,
        oracles=tuple(keys.oracle_address(index) for index in range(community.metering.oracles)),
        quorum=community.metering.quorum,
        wires=make_wires(community, trading) if community.wires.limits != WATCHED else None,
        batches=batch_terms(community),
        commits_days=community.metering.day_commitments,
        dispute_window_s=60 * community.gates.dispute_window_minutes if community.metering.corrected else 0,
        charges=make_charges(community, trading),
        publishing=publishing_terms(community),
        balance_oracle=keys.balance_address if community.metering.aggregation == MASKED else None,
    )


def publishing_terms(community: Community) -> PublishingTerms | None:
    """The privacy budget of the community's statistics; None where none may be published."""
    rules = community.privacy
    return None if rules is None else PublishingTerms(rules.epsilon_milli, rules.period, rules.cap_wh_per_day)


def batch_terms(community: Community) -> BatchTerms | None:
    """How the community's slots go to the chain in batches; None where each goes by itself."""
    rules = community.ledger
    if rules.settle != BATCHES:
        return None
    bond = rules.operator_bond * UNITS_PER_CURRENCY
    return BatchTerms(rules.batch_slots, rules.publish, rules.fraud_window_s, rules.exit_timeout_s, bond)


def batch_faults(community: Community) -> list[Fault]:
    """What is wrong with the length of the community's batches: longer than anybody waits, or than oracles remember readings."""
    rules, gates = community.ledger, community.gates
    if rules.settle != BATCHES:
        return []
    minutes = rules.batch_slots * community.grid.minutes
    waits = gates.metering_deadline_minutes + gates.dispute_window_minutes
    most = min(rules.exit_timeout_s // 60, KEPT_DAYS * 24 * 60) - waits
    if minutes <= most:
        return []
    expected = (
        f"at most {most // community.grid.minutes}: after exit_timeout_minutes members leave, and oracles keep {KEPT_DAYS} days"
    )
    return [Fault("[ledger]", "batch_slots", rules.batch_slots, expected)]


def clock_faults(community: Community) -> list[Fault]:
    """Meters' clocks that cannot be replayed over nodes of their own: these have one clock, which goes forward slot by slot."""
    most = 60 * community.gates.metering_deadline_minutes - usual_delay_s(community)
    return [
        Fault(f"member {m.id}", "meter_clock_s", m.meter_clock_s, f"0 to {most} over a gateway and oracles of their own")
        for m in community.members
        if not 0 <= m.meter_clock_s <= most
    ]


def make_charges(community: Community, trading: Trading) -> NetworkCharges | None:
    """What is charged for capacity and losses, as public terms; None where nothing is.

    Raises InputError where losses would be charged twice, by factors and by the prices of the nodes.
    """
    rules = community.charges
    if not (rules.by_capacity or rules.losses_micro_per_kwh):
        return None
    if rules.losses_micro_per_kwh and community.wires.limits == NODAL:
        expected = "0 where limits are nodal: the prices of the nodes charge losses already"
        raise InputError("community", [Fault("[tariffs.grid]", "losses_ct_per_kwh", rules.losses_micro_per_kwh, expected)])
    subscribed = np.array([member.subscribed_w for member in community.members], dtype=np.int64)
    feeder = (trading.network, trading.bus) if rules.losses_micro_per_kwh else (None, None)
    by_capacity = rules.capacity_micro_per_kw_day, rules.excess_micro_per_kwh
    return NetworkCharges(*by_capacity, subscribed, rules.losses_micro_per_kwh, rules.losses_shared, *feeder)


def make_wires(community: Community, trading: Trading) -> Wires:
    """The feeder with its limits, as public terms."""
    rules = community.wires
    cap, reserve = rules.emission_cap_g_per_hour, (rules.reserve_up_w, rules.reserve_down_w)
    required = Required(cap, rules.grid_g_per_kwh, *reserve) if cap is not None or any(reserve) else None
    limits = rules.import_limit_w, rules.export_limit_w
    by_prices = Wires(trading.network, trading.bus, rules.rent, *limits, rules.relief, required, rules.scarcity_micro_per_kwh)
    if rules.limits == NODAL:
        return by_prices
    newest = [max((plant.commissioned for plant in member.pv), default=0) for member in community.members]
    years, paid = np.array(newest, dtype=np.int64), rules.curtailment_paid_percent
    return replace(by_prices, order=rules.curtailment, paid_percent=paid, connected=years)


def ledger_keys(seed: bytes) -> LedgerKeys:
    """The keys of a run's ledger: admin, operator, oracles and members."""
    return LedgerKeys(hashlib.sha256(b"ledger" + seed).digest())


@dataclass(frozen=True, slots=True)
class OpenRun:
    """A run's folder, opened by `by` ("operator", or the DID of who was admitted): its journal; what only the folder's key opens,
    else None: the community, and `master`, that key; what opens the `stores` of nodes beside it."""

    journal: Journal
    by: str
    community: Community | None
    master: bytes | None
    stores: bytes | None
    access: folder.Opened


def open_run(run: Path, opener: folder.Opener, command: str, now: datetime) -> OpenRun | folder.Refused:
    """The folder of a finished or interrupted run, opened for `command` (`exchange.folder`). InputError where there is no run."""
    opened = folder.open_folder(run, opener, command, now)
    if isinstance(opened, folder.Refused):
        return opened
    if isinstance(opened.keys, OwnKeys):
        return OpenRun(Journal(run / JOURNAL, opened.keys), opened.by, None, None, None, opened)
    community = sealed_community(run, opened.keys)
    secret = opener if isinstance(opener, bytes) else None
    journal = Journal(run / JOURNAL, journal_keys(run_seed(community), secret, opened.keys))
    stores = None if opened.secret and secret is None else master_of_stores(community, secret)
    return OpenRun(journal, opened.by, community, opened.keys, stores, opened)


def sealed_community(run: Path, master: bytes) -> Community:
    """The community that a run was made from."""
    text, beside = folder.sealed_text(run, master)
    return read_community(text, f"community file of {run}", beside)


def open_journal(run: Path, opener: folder.Opener = None) -> Journal:
    """The journal, opened by the operator: with a secret, a key, or the one beside the folder."""
    return opened_by_operator(run, opener).journal


def opened_by_operator(run: Path, opener: folder.Opener = None) -> OpenRun:
    """As `open_run`, for what is the operator's alone; JournalError for anybody else."""
    opened = open_run(run, opener, "", datetime.now(UTC))
    if isinstance(opened, folder.Refused):
        raise JournalError(f"{run}: {opened.by} may not: {opened.why}", thing=run)
    return opened


def journal_keys(seed: bytes, secret: bytes | None, master: bytes) -> KeySource:
    """The members' keys of a run's journal, wrapped under `master`, the folder's key. With a secret of the operator (32 bytes) the
    salts' keys are drawn from the operating system's generator; erased is erased.
    Without they follow from the community's seed, so that a replay ends in the same bytes everywhere; fit for trials.
    """
    if secret is not None:
        return KeySource(master, lambda account: os.urandom(32))
    return KeySource(master, lambda account: hashlib.sha256(b"member key" + seed + account.to_bytes(8, "big")).digest())


def store_master(community: Path, secret: bytes | None) -> bytes:
    """What wraps the members' keys in the stores of gateway and oracles: from the secret, else from the community's seed."""
    return master_of_stores(load_community(community), secret)


def master_of_stores(community: Community, secret: bytes | None) -> bytes:
    """The same of a community that is read."""
    return hashlib.sha256(b"store master" + (secret or run_seed(community))).digest()


def _remove_run(out: Path) -> None:
    """Remove a run's own files and nothing else; a folder that holds no run is left alone."""
    if any(out.iterdir()) and not (out / JOURNAL).exists() and not (out / folder.ACCESS).exists():
        raise JournalError(f"{out}: not a run's folder, nothing is removed", thing=out, way_out="give another --out")
    for name in (JOURNAL, f"{JOURNAL}-wal", f"{JOURNAL}-shm", PUBLIC, "HEAD", COMMUNITY, folder.ACCESS):
        (out / name).unlink(missing_ok=True)
