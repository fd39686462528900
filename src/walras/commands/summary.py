"""The few figures that sum up a run, for the terminal."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console

from walras.commands.terminal import say
from walras.exchange.acts import ActKind, acts_of
from walras.exchange.curtailment import WiresSlot, recorded_wires
from walras.exchange.fold import ACT, BATCH_INCLUDED
from walras.exchange.journal import Entry, read_public_record
from walras.exchange.ordered import Outcome, outcomes
from walras.exchange.phases import EventKind
from walras.exchange.settled_positions import settled_positions
from walras.exchange.statement import SettledSlot, opened_terms, settled_slots
from walras.exchange.terms import Terms
from walras.grid import limit_worths
from walras.ledger.costs import ASSUMED, settlement_costs
from walras.study.balance_lines import FeederBalance
from walras.study.correction_lines import Corrections
from walras.study.masked_lines import MaskedSums
from walras.study.ordered_lines import holders_of, ordered_rows
from walras.study.required import required_lines
from walras.tariffs.bill import ADDED, CURTAILMENT, LOCATIONAL, RENT_RETURNED, RESERVE
from walras.units import Int64, checked_sum, format_energy, format_money, format_price


def summary_table(console: Console, run: Path) -> None:
    """Print energy, prices, money, wires and chain of the run in `run`, from its public record."""
    entries = read_public_record(run / "public.jsonl")
    terms, _ = opened_terms(entries)
    imported = exported = traded = pays = alone = gas = overloads = 0
    nano = np.zeros(terms.accounts, dtype=np.int64)
    paid, worst = 0, (0, "")
    corrections, masked = Corrections(), MaskedSums()
    acts = [entry for entry in entries if entry.kind == ACT]
    charged = [] if terms.charges is None else [terms.layout().items.index(name) for name in terms.charges.items]
    network = 0
    on_wires: list[tuple[WiresSlot, SettledSlot]] = []
    ordered: list[Outcome] = []
    balance = FeederBalance()
    for s in settled_slots(terms, entries):
        volume = int(s.accounts.settled.bought_wh.sum())
        traded += volume
        imported += int(s.import_wh.sum())
        exported += int(s.export_wh.sum())
        nano += s.accounts.cash_nano
        network += checked_sum(s.accounts.bills.nano[:, charged].ravel())
        pays += checked_sum(s.accounts.bills.total_nano)
        alone += checked_sum(s.alone.total_nano)
        paid += checked_sum(np.maximum(s.accounts.settled.local_nano, 0))
        gas += s.events[EventKind.SETTLED].public.get("gas", 0)
        corrections.add(s, acts)
        masked.add(s.events[EventKind.READINGS_ADMITTED].public)
        flow = s.events[EventKind.DELIVERED].public
        overloads += bool(flow["violations"])
        balance.add(s)
        ordered += outcomes(s.slot, s.events[EventKind.SLOT_OPENED].public, s.import_wh - s.export_wh)
        wires = recorded_wires(terms, s.slot, s.events)
        if wires is not None:
            on_wires.append((wires, s))
        worst = max(worst, (flow["loading_ppm"][1], f"{terms.grid.local(s.slot):%d %b %H:%M}"))
    rows = [
        ("traded between neighbours", f"{format_energy(traded, 1)} at {format_price(paid // traded if traded else 0)} on average"),
        ("taken from / given to the grid", f"{format_energy(imported, 1)} / {format_energy(exported, 1)} at the meters"),
        ("the members together", f"{_owed(pays, terms.currency)}; without the market they would {_owed(alone, terms.currency)}"),
        ("gain of the members together", f"{format_money(alone - pays, terms.currency)} on the same metered energy"),
        ("highest loading of the wires", f"{worst[0] / 1e4:.1f} % ({worst[1]}); limits broken in {overloads} slots"),
        *(
            [("charged for the network", f"{format_money(network, terms.currency)} by capacity and losses")]
            if terms.charges
            else []
        ),
        *_on_wires(terms, on_wires),
        *balance.rows(_account),
        *(masked.rows(_account) if terms.balance_oracle is not None else []),
        *ordered_rows(ordered, holders_of(entries), terms.grid, _account),
        *corrections.rows(),
        *_found(entries),
        *_set_aside(entries),
        _gas(terms, entries, gas),
        ("all balances sum to zero", f"{checked_sum(nano)} nano"),
    ]
    for name, text in rows:
        say(console, f"{name:<30}  {text}", indent=" " * 32)


def _account(account: int) -> str:
    return f"account {account}"


def _owed(nano: int, currency: str) -> str:
    return f"pay {format_money(nano, currency)}" if nano >= 0 else f"receive {format_money(-nano, currency)}"


def _found(entries: list[Entry]) -> list[tuple[str, str]]:
    """What each day's validation found in the readings, if anything."""
    counts: Counter[str] = Counter()
    for act in acts_of(entries):
        if act.kind is ActKind.VALIDATED:
            for check, _account, count in (act.detail or {})["findings"]:
                counts[check.replace("_", " ")] += count
    said = ", ".join(f"{count} {check}" for check, count in counts.items())
    return [("found in the readings", f"{said}; see `walras validate`")] if said else []


def _set_aside(entries: list[Entry]) -> list[tuple[str, str]]:
    """What oracles refused for good of the gateway's batches, by the log that it gave last."""
    acts = {act.by: act.detail or {} for act in acts_of(entries) if act.kind is ActKind.ASKED}
    aside = [(peer, why) for detail in acts.values() for peer, _, _, why in detail.get("batches_set_aside", ())]
    said = "; ".join(f"{count} by {peer}: {why}" for (peer, why), count in sorted(Counter(aside).items()))
    return [("batches refused for good", said)] if said else []


def _gas(terms: Terms, entries: list[Entry], slot_gas: int) -> tuple[str, str]:
    """What settlement used, and beside it what the other way would have used by `ledger.costs`."""
    batches = [entry.public for entry in entries if entry.kind == BATCH_INCLUDED]
    if terms.batches is None:
        return "gas", f"{slot_gas:,} for all settlements"
    used = sum(public["gas"] for public in batches)
    slots = sum(public["last"] - public["first"] + 1 for public in batches)
    alone = settlement_costs(settled_positions(entries).slots(slots), ASSUMED)[0].gas
    many = "1 batch" if len(batches) == 1 else f"{len(batches)} batches"
    return "gas", f"{used:,} for {many} of {slots} slots; slot by slot it would be about {alone:,}"


def _on_wires(terms: Terms, slots: list[tuple[WiresSlot, SettledSlot]]) -> list[tuple[str, str]]:
    """The rows of a run in which the limits of the wires hold."""
    if terms.wires is None or not slots:
        return []
    items = terms.layout().items
    nano = np.array([s.accounts.bills.nano for _, s in slots], dtype=np.int64).sum(axis=0)
    added = {name: nano[:, items.index(name)] for name in ADDED if name in items}
    taken = np.array([wires.curtailed_wh for wires, _ in slots], dtype=np.int64).sum(axis=0)
    if not terms.wires.priced:
        paid = format_money(-checked_sum(added[CURTAILMENT]), terms.currency)
        return [
            ("taken back by the wires", f"{format_energy(int(taken.sum()), 1)}, {terms.wires.order.replace('_', ' ')}"),
            ("paid for it by grid operator", f"{paid}, {terms.wires.paid_percent} % of what owners lose"),
            *_by_place(terms, np.zeros(terms.members, dtype=np.int64), taken),
        ]
    charged = format_money(checked_sum(added[LOCATIONAL]), terms.currency)
    back = format_money(-checked_sum(added[RENT_RETURNED]), terms.currency)
    held = f"; {format_money(-checked_sum(added[RESERVE]), terms.currency)} to them for reserve" if RESERVE in added else ""
    rows = [
        ("taken back by the wires", f"{format_energy(int(taken.sum()), 1)} that members would have fed in"),
        ("locational charges", f"{charged}; back to members {back}{held}"),
    ]
    worths = limit_worths(terms.wires.network, (wires.clearing for wires, _ in slots), terms.grid.hours)
    for line in required_lines(terms.wires, [wires for wires, _ in slots], worths, terms.currency):
        name, _, text = line.rpartition(": ")
        rows.append((name, text))
    return rows + _by_place(terms, sum(added.values(), np.zeros(terms.members, dtype=np.int64)), taken)


def _by_place(terms: Terms, nano: Int64, taken_wh: Int64) -> list[tuple[str, str]]:
    """Who pays most and gets most because of where it hangs, and who had to take back most."""
    assert terms.wires is not None

    def who(account: int) -> str:
        assert terms.wires is not None
        return f"account {account} at {terms.wires.network.bus_names[terms.wires.bus[account]]}"

    dear, cheap, held = int(np.argmax(nano)), int(np.argmin(nano)), int(np.argmax(taken_wh))
    rows = []
    if nano[dear] > 0:
        most = format_money(int(nano[dear]), terms.currency)
        rows.append(("bad places pay more", f"{int((nano > 0).sum())} of {nano.size} members; most {who(dear)}: {most}"))
    if nano[cheap] < 0:
        rows.append(("good places get", f"most {who(cheap)}: {format_money(-int(nano[cheap]), terms.currency)}"))
    if taken_wh[held] > 0:
        lost = format_money(int(taken_wh[held]) * int(terms.feed_in_micro[held]), terms.currency)
        rows.append(("most taken back", f"{format_energy(int(taken_wh[held]), 1)} at {who(held)}: {lost} at its feed-in rate"))
    return rows
