"""The public terms of a run: everything that a clearing, a bill and a settlement depend on besides orders and readings.

Members are known to the public by their account only: account i is member i; behind the members come the accounts of
`SYSTEM_ACCOUNTS`. The terms are the public part of the journal's first entry, so anybody can repeat every bill.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np

from walras.errors import Fault, InputError, JournalError
from walras.exchange.batch_terms import BatchTerms, batch_terms_from_public
from walras.exchange.network_charges import NetworkCharges, network_charges_from_public, network_charges_to_public
from walras.exchange.publishing_terms import PublishingTerms, publishing_terms_from_public
from walras.exchange.wires import Wires, wires_from_public, wires_to_public
from walras.market.conventions import Conventions, read_conventions
from walras.slots import SlotGrid
from walras.tariffs.bill import ACCOUNTS, BillLayout, bill_layout
from walras.tariffs.prices import PriceTable
from walras.tariffs.records import LocalTariff, PriceItem
from walras.units import Int64, as_int64

SYSTEM_ACCOUNTS = ACCOUNTS
AS_DELIVERED, FIRM = "as_delivered", "firm"


@dataclass(frozen=True, slots=True)
class Terms:
    """What everybody may know.

    contracts      ids of the supply contracts; `items` the names of their price items
    contract_of    [members] row of each member's contract; `feed_in_micro` [members] its feed-in rate, micro/kWh
    rule           `as_delivered` or `firm`; `short`/`long_micro_per_kwh` the imbalance prices of `firm`
    first, last    slots of the run
    gate_closure_s, metering_deadline_s  seconds before the start and after the end of a slot
    oracles        addresses; `quorum` of them attest
    dispute_window_s  seconds after the metering deadline in which late readings correct a settled slot; 0: settled is final
    batches        how slots go to the chain many at a time; None where each goes by itself
    commits_days   whether members' days are committed to for zero-knowledge proofs (`days`)
    wires          the feeder, where its limits hold in the run; None where they are only watched
    charges        what is charged for capacity and losses beside the contracts; None where nothing is
    balance_oracle address of who says what the masked readings sum to; None where none are
    publishing     the privacy budget that statistics are published under; None: nothing is published
    """

    name: str
    currency: str
    grid: SlotGrid
    first: int
    last: int
    mechanism: str
    conventions: Conventions
    rule: str
    short_micro_per_kwh: int
    long_micro_per_kwh: int
    contracts: tuple[str, ...]
    items: tuple[str, ...]
    local: LocalTariff
    contract_of: Int64
    feed_in_micro: Int64
    gate_closure_s: int
    metering_deadline_s: int
    oracles: tuple[str, ...]
    quorum: int
    wires: Wires | None = None
    dispute_window_s: int = 0
    batches: BatchTerms | None = None
    commits_days: bool = False
    charges: NetworkCharges | None = None
    publishing: PublishingTerms | None = None
    balance_oracle: str | None = None

    @property
    def members(self) -> int:
        """Number of members; their accounts are 0 .. members - 1."""
        return int(self.contract_of.size)

    @property
    def accounts(self) -> int:
        """Members and system accounts."""
        return self.members + len(SYSTEM_ACCOUNTS)

    def price_table(self, slot: int, item_micro: Int64) -> PriceTable:
        """The prices of one slot; `item_micro` [contracts, items]."""
        if item_micro.shape != (len(self.contracts), len(self.items)):
            fault = Fault(f"slot {slot}", "item_micro", item_micro.shape, f"{(len(self.contracts), len(self.items))}")
            raise InputError("prices", [fault])
        table = item_micro[None]
        all_in = table.sum(axis=2)
        return PriceTable(slot, self.contracts, self.items, table, all_in, all_in)

    def layout(self) -> BillLayout:
        """The items of a bill under these terms."""
        nothing = np.zeros((len(self.contracts), len(self.items)), dtype=np.int64)
        added = () if self.charges is None else self.charges.items
        if self.wires is not None:
            added = (*added, *self.wires.items)
        return bill_layout(self.price_table(0, nothing), self.local, added)


def terms_to_public(terms: Terms) -> dict[str, Any]:
    """Plain whole numbers and strings, for the journal."""
    wires: dict[str, Any] = {} if terms.wires is None else {"wires": wires_to_public(terms.wires)}
    if terms.charges is not None:
        wires["charges"] = network_charges_to_public(terms.charges)
    days = {"days": "committed"} if terms.commits_days else {}
    batches = {} if terms.batches is None else {"batches": terms.batches.to_public()}
    publishing = {} if terms.publishing is None else {"privacy": terms.publishing.to_public()}
    return (
        wires
        | batches
        | publishing
        | days
        | {
            "format": 1,
            "name": terms.name,
            "currency": terms.currency,
            "grid": {"origin": terms.grid.origin.isoformat(), "minutes": terms.grid.minutes, "timezone": terms.grid.timezone},
            "slots": [terms.first, terms.last],
            "market": {"mechanism": terms.mechanism, "conventions": conventions_to_public(terms.conventions)},
            "settlement": {"rule": terms.rule, "short": terms.short_micro_per_kwh, "long": terms.long_micro_per_kwh},
            "contracts": list(terms.contracts),
            "items": list(terms.items),
            "local": asdict(terms.local) | {"levies": [[levy.name, levy.micro_per_kwh] for levy in terms.local.levies]},
            "accounts": [
                *([c, f] for c, f in zip(terms.contract_of.tolist(), terms.feed_in_micro.tolist(), strict=True)),
                *(list(SYSTEM_ACCOUNTS)),
            ],
            "gates": {"closure_s": terms.gate_closure_s, "metering_s": terms.metering_deadline_s}
            | ({"dispute_s": terms.dispute_window_s} if terms.dispute_window_s else {}),
            "oracles": {"addresses": list(terms.oracles), "quorum": terms.quorum}
            | ({"balance": terms.balance_oracle} if terms.balance_oracle else {}),
        }
    )


def terms_from_public(public: Mapping[str, Any]) -> Terms:
    """The inverse of `terms_to_public`; InputError where a part is missing or of another kind."""
    try:
        grid = public["grid"]
        local = public["local"]
        members = public["accounts"][: -len(SYSTEM_ACCOUNTS)]
        if public["format"] != 1 or tuple(public["accounts"][-len(SYSTEM_ACCOUNTS) :]) != SYSTEM_ACCOUNTS:
            raise InputError("terms", [Fault("terms", "format", public["format"], "format 1")])
        return Terms(
            name=public["name"],
            currency=public["currency"],
            grid=SlotGrid(datetime.fromisoformat(grid["origin"]), grid["minutes"], grid["timezone"]),
            first=public["slots"][0],
            last=public["slots"][1],
            mechanism=public["market"]["mechanism"],
            conventions=read_conventions(public["market"]["conventions"]),
            rule=public["settlement"]["rule"],
            short_micro_per_kwh=public["settlement"]["short"],
            long_micro_per_kwh=public["settlement"]["long"],
            contracts=tuple(public["contracts"]),
            items=tuple(public["items"]),
            local=LocalTariff(**{**local, "levies": tuple(PriceItem(n, m) for n, m in local["levies"])}),
            contract_of=as_int64([c for c, _ in members], "contract_of"),
            feed_in_micro=as_int64([f for _, f in members], "feed_in_micro"),
            gate_closure_s=public["gates"]["closure_s"],
            metering_deadline_s=public["gates"]["metering_s"],
            oracles=tuple(public["oracles"]["addresses"]),
            quorum=public["oracles"]["quorum"],
            wires=wires_from_public(public["wires"]) if "wires" in public else None,
            dispute_window_s=public["gates"].get("dispute_s", 0),
            batches=batch_terms_from_public(public["batches"]) if "batches" in public else None,
            commits_days=public.get("days") == "committed",
            charges=network_charges_from_public(public["charges"]) if "charges" in public else None,
            publishing=publishing_terms_from_public(public["privacy"]) if "privacy" in public else None,
            balance_oracle=public["oracles"].get("balance"),
        )
    except (KeyError, TypeError, IndexError, ValueError) as cause:
        raise InputError("terms", [Fault("terms", "record", repr(cause), "the terms of a run")]) from cause


OPTIONS = {
    ("slots",): "--start and --days",
    ("market",): "--mechanism",
    ("market", "slots"): "--start, --days and --mechanism",
    ("wires",): "--mechanism nodal",
    ("slots", "wires"): "--start, --days and --mechanism nodal",
}
"""Which options of `walras run` account for terms that differ in exactly these parts."""


def begun_otherwise(begun: Mapping[str, Any], now: Mapping[str, Any]) -> JournalError:
    """The error that a run meets in a journal of other terms: what differs, and whether options account for it."""
    parts = tuple(sorted(part for part in {*begun, *now} if begun.get(part) != now.get(part)))
    found = [line for part in parts if part != "wires" for line in _differences(part, begun.get(part), now.get(part))]
    shown, more = found[:3], f" and {len(found) - 3} more" if len(found) > 3 else ""
    options = OPTIONS.get(parts)
    what = f"the journal was begun with other {options or 'terms: another community file'}"
    return JournalError(
        what + (f" ({'; '.join(shown)}{more})" if shown else ""),
        thing=parts,
        way_out=(f"give the same {options} as then, " if options else "") + "give another --out folder, or --fresh to begin anew",
    )


def _differences(name: str, begun: object, now: object) -> list[str]:
    """What differs in a part of the terms, down to its fields: name, value then, value now."""
    if isinstance(begun, Mapping) and isinstance(now, Mapping):
        fields = sorted(field for field in {*begun, *now} if begun.get(field) != now.get(field))
        return [line for field in fields for line in _differences(f"{name}.{field}", begun.get(field), now.get(field))]
    return [f"{name}: {_short(begun)}, now {_short(now)}"]


def _short(value: object) -> str:
    text = "nothing" if value is None else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def conventions_to_public(conventions: Conventions) -> dict[str, Any]:
    """Every convention as a whole number or a string (`k` as a fraction)."""
    values = {name: getattr(conventions, name) for name in Conventions.__dataclass_fields__}
    return {name: str(value) if name == "k" else value for name, value in values.items() if value is not None}
