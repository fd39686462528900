"""A community as frozen records: who is a member, what stands behind each meter, and by which rules they trade.

Sizes are whole watts and watt-hours, prices whole micro-units of currency per kWh, times whole minutes. The records are checked
where they are read (`walras.community.file`); here they only hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from walras.community.datafile import CommunityData
from walras.community.prices import PriceData
from walras.devices.records import Battery
from walras.market.conventions import Conventions
from walras.slots import SlotGrid
from walras.tariffs.records import Contract, FeedIn, LocalTariff

LoadKind = Literal["household", "business", "farm", "ev", "heat_pump"]
StrategyName = Literal["truthful", "zero_intelligence"]
LimitsRule = Literal["watched", "nodal", "curtailed"]
CurtailmentRule = Literal["pro_rata", "last_in_first_out", "cheapest"]
DroopName = Literal["none", "ieee1547-a", "ieee1547-b", "en50549"]
RentRule = Literal["members", "grid_operator"]
SettleRule = Literal["direct", "batches"]
PublishRule = Literal["calldata", "committee"]
AggregationName = Literal["none", "masked"]
PrivacyPeriod = Literal["day", "month"]
LossesShared = Literal["scaled", "shifted"]
ReliefRule = Literal["none", "batteries"]
SettlementRule = Literal["as_delivered", "firm"]


@dataclass(frozen=True, slots=True)
class Load:
    """Something that takes energy by a profile: power in slot t is the profile's share at t + `shift_slots` of `peak_w`.

    `peak_var` scales the profile's reactive power (positive: inductive, taken from the grid).
    """

    kind: LoadKind
    profile: str
    peak_w: int
    peak_var: int
    shift_slots: int = 0


@dataclass(frozen=True, slots=True)
class Pv:
    """A solar plant: `peak_w` at standard conditions, and the year of commissioning, which sets its feed-in rate."""

    profile: str
    peak_w: int
    commissioned: int


@dataclass(frozen=True, slots=True)
class Member:
    """One meter: where it hangs, by which contract it is supplied, what stands behind it."""

    id: str
    node: str
    contract: str
    strategy: StrategyName
    loads: tuple[Load, ...]
    pv: tuple[Pv, ...] = ()
    battery: Battery | None = None
    subscribed_w: int = 0


@dataclass(frozen=True, slots=True)
class MarketRules:
    """Which mechanism clears, by which conventions, and how members trade unless they say otherwise."""

    mechanism: str
    conventions: Conventions
    strategy: StrategyName


@dataclass(frozen=True, slots=True)
class WiresRules:
    """What the limits of the feeder mean in a run.

    limits   `watched`: the power flow of what was metered is recorded with the limits it breaks; `nodal`: they hold: what the
             wires cannot carry is taken back at the least loss, and every node has its price; `curtailed`: they hold too, what is
             taken back goes by the order `curtailment`, and `curtailment_paid_percent` of the loss is paid
    rent     who gets what the nodal prices earn: `members` or `grid_operator`
    droop    how the inverters of solar plants answer to the voltage at their terminals (`grid.droop`); `none`: not at all
    import_limit_w, export_limit_w   most that the feeder may take from and give to the grid above; None: no limit
    relief   `batteries`: members' batteries offer the wires what they could give or take more; `none`: they do not
    emission_cap_g_per_hour   most that the import of the feeder may emit in an hour (None: no cap), at `grid_g_per_kwh`
    reserve_up_w, reserve_down_w   reserve that every slot must leave
    scarcity_micro_per_kwh   most that the wires add to the price of a kWh, where nothing that is offered keeps a limit
    """

    limits: LimitsRule = "watched"
    rent: RentRule = "members"
    droop: DroopName = "none"
    import_limit_w: int | None = None
    export_limit_w: int | None = None
    relief: ReliefRule = "none"
    emission_cap_g_per_hour: int | None = None
    grid_g_per_kwh: int = 0
    reserve_up_w: int = 0
    reserve_down_w: int = 0
    scarcity_micro_per_kwh: int = 1_000_000
    curtailment: CurtailmentRule = "pro_rata"
    curtailment_paid_percent: int = 100

    def waiting(self) -> list[str]:
        """What the file asks for that does nothing while limits are only watched, by the names of its fields.

        >>> WiresRules(import_limit_w=30_000, reserve_up_w=500).waiting()
        ['import_limit_kw', 'reserve_up_kw']
        """
        asked = {
            "import_limit_kw": self.import_limit_w is not None,
            "export_limit_kw": self.export_limit_w is not None,
            "relief": self.relief != "none",
            "emission_cap_kg_per_hour": self.emission_cap_g_per_hour is not None,
            "reserve_up_kw": self.reserve_up_w > 0,
            "reserve_down_kw": self.reserve_down_w > 0,
        }
        return [name for name, given in asked.items() if given and self.limits == "watched"]


@dataclass(frozen=True, slots=True)
class GridCharges:
    """What members pay for the wires beside their contracts, taxes included; 0: not charged.

    capacity_micro_per_kw_day   for each subscribed kW; `excess_micro_per_kwh` for energy taken beyond the subscription
    losses_micro_per_kwh        what a kWh lost costs; `losses_shared` how marginal losses are reconciled with the actual ones
    """

    capacity_micro_per_kw_day: int = 0
    excess_micro_per_kwh: int = 0
    losses_micro_per_kwh: int = 0
    losses_shared: LossesShared = "scaled"

    @property
    def by_capacity(self) -> bool:
        """Whether members need a subscription."""
        return self.capacity_micro_per_kw_day > 0 or self.excess_micro_per_kwh > 0


@dataclass(frozen=True, slots=True)
class SettlementRules:
    """What happens when metered energy differs from the position.

    `as_delivered`: trades count up to what both sides metered. `firm`: positions stand; who took more (or gave less) than its
    position pays `imbalance_short_micro_per_kwh`, who took less (or gave more) gets `imbalance_long_micro_per_kwh`;
    one-sided when equal.
    """

    rule: SettlementRule
    imbalance_short_micro_per_kwh: int
    imbalance_long_micro_per_kwh: int


@dataclass(frozen=True, slots=True)
class Gates:
    """Minutes: orders close `gate_closure` and reveals `reveal_deadline` before delivery begins (gate first);
    readings are due `metering_deadline` after delivery ends, and disputes `dispute_window` after that."""

    gate_closure_minutes: int
    reveal_deadline_minutes: int
    metering_deadline_minutes: int
    dispute_window_minutes: int


@dataclass(frozen=True, slots=True)
class ForecastModel:
    """Relative standard deviation of the forecast error, in whole percent of the forecast quantity."""

    load_error_percent: int
    pv_error_percent: int


@dataclass(frozen=True, slots=True)
class MeteringRules:
    """How many oracles attest the readings' root, and how many of them must agree.

    `late_percent` of the readings come after the deadline but within the dispute window: their slots settle on substitutes and are
    corrected when the window closes. 0: all are on time. `day_commitments`: each day's readings are committed to, so that members
    can prove statements about them in zero knowledge. `aggregation`: whether meters also send masked readings, of which a balance
    oracle learns the sum and no home's.
    """

    oracles: int
    quorum: int
    late_percent: int = 0
    day_commitments: bool = False
    aggregation: AggregationName = "none"


@dataclass(frozen=True, slots=True)
class PrivacyRules:
    """Under which budget statistics of the community may be published: so many thousandths of epsilon for each local `period`, in
    which a member counts with at most `cap_wh_per_day` of import and as much of export for each day."""

    epsilon_milli: int
    cap_wh_per_day: int
    period: PrivacyPeriod = "month"


@dataclass(frozen=True, slots=True)
class GateRule:
    """A list that is asked who may come in: its reason, the address that writes it, and whether it keeps out who is on it."""

    name: str
    keeper: str
    denies: bool = False


@dataclass(frozen=True, slots=True)
class LedgerRules:
    """How a run stands on its chain, and what `walras deploy` puts there beside the settlement.

    settle         `direct`: every slot in a transaction of its own; `batches`: `batch_slots` of them under one root
    publish        of a batch: its data as `calldata`, or the `committee` of oracles answers for them
    fraud_window_s, exit_timeout_s   a batch can be proved wrong so long; members leave by themselves after so long without one
    operator_bond  what the operator has at stake behind its batches, whole currency units
    contracts      to deploy besides, by name or `all`; `gate` lists who may come in, `meter_operators` vouch for devices
    correction_window_slots   for so many further slots a settled slot can be corrected; then it is final
    manifest       file of `walras deploy`, beside the community's: runs settle on the contracts in it
    """

    settle: SettleRule = "direct"
    publish: PublishRule = "calldata"
    batch_slots: int = 96
    fraud_window_s: int = 86_400
    exit_timeout_s: int = 604_800
    operator_bond: int = 1_000
    contracts: tuple[str, ...] = ()
    gate: tuple[GateRule, ...] = ()
    meter_operators: tuple[str, ...] = ()
    manifest: str | None = None
    correction_window_slots: int = 2_880


@dataclass(frozen=True, slots=True)
class Community:
    """All that a run needs to know. `grid` counts slots from the data's origin; `start` is a local date."""

    name: str
    currency: str
    grid: SlotGrid
    start: date
    days: int
    seed: int
    market: MarketRules
    wires: WiresRules
    settlement: SettlementRules
    gates: Gates
    forecast: ForecastModel
    metering: MeteringRules
    contracts: tuple[Contract, ...]
    local: LocalTariff
    feed_in: tuple[FeedIn, ...]
    members: tuple[Member, ...]
    data: CommunityData = field(repr=False, compare=False)
    prices: PriceData | None = field(repr=False, compare=False)
    ledger: LedgerRules = LedgerRules()
    charges: GridCharges = GridCharges()
    privacy: PrivacyRules | None = None

    @property
    def slots(self) -> range:
        """The slots of the community's `days` from `start`: local days, so 92 or 100 of 15 minutes at the clock changes."""
        return self.grid.local_days(self.start, self.days)

    @property
    def slot_count(self) -> int:
        """How many slots of `grid` the data cover, from slot 0."""
        return self.data.slots * self.data.grid.minutes // self.grid.minutes

    def member(self, member_id: str) -> Member:
        """The member of that id; KeyError names the id where there is none."""
        for member in self.members:
            if member.id == member_id:
                return member
        raise KeyError(member_id)
