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

from walras.errors import Fault, InputError
from walras.exchange.wires import Wires, wires_from_public, wires_to_public
from walras.market.conventions import Conventions, read_conventions
from walras.slots import SlotGrid
from walras.tariffs.bill import ACCOUNTS, LOCATED, RESERVE, BillLayout, bill_layout
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
    commits_days   whether members' days are committed to for zero-knowledge proofs (`days`)
    wires          the feeder, where its limits hold in the run; None where they are only watched
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
    commits_days: bool = False

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
        added = () if self.wires is None else (*((RESERVE,) if self.wires.holds_reserve else ()), *LOCATED)
        return bill_layout(self.price_table(0, nothing), self.local, added)


def terms_to_public(terms: Terms) -> dict[str, Any]:
    """Plain whole numbers and strings, for the journal."""
    wires = {} if terms.wires is None else {"wires": wires_to_public(terms.wires)}
    days = {"days": "committed"} if terms.commits_days else {}
    return (
        wires
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
            "oracles": {"addresses": list(terms.oracles), "quorum": terms.quorum},
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
            commits_days=public.get("days") == "committed",
        )
    except (KeyError, TypeError, IndexError, ValueError) as cause:
        raise InputError("terms", [Fault("terms", "record", repr(cause), "the terms of a run")]) from cause


def conventions_to_public(conventions: Conventions) -> dict[str, Any]:
    """Every convention as a whole number or a string (`k` as a fraction)."""
    values = {name: getattr(conventions, name) for name in Conventions.__dataclass_fields__}
    return {name: str(value) if name == "k" else value for name, value in values.items() if value is not None}
