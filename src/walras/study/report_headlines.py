"""The figures at the head of a report, from its columns: exact where they are energy or money, ratios where they are shares.

Self-consumption is the part of the solar generation that is not fed to the supplier, self-sufficiency the part of the load that
is not bought from it. Without the market only what happens behind a member's own meter counts; with it, also what
neighbours traded (up to what both sides metered). A battery's charge counts as use when it is taken.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from walras.community.model import Member
from walras.grid import find_violations
from walras.study.report_data import ReportData, World, charges_micro
from walras.units import Int64, checked_sum


@dataclass(frozen=True, slots=True)
class Pair:
    """One figure in both worlds; None where it has no meaning (no sun, no load)."""

    with_market: float | None
    without: float | None


@dataclass(frozen=True, slots=True)
class Headlines:
    """Wh, micro/kWh, nano; shares from 0 to 1; kW at the transformer.

    price_micro is what buyers paid for a traded kWh on average, `bought_micro` the same with local fees and VAT,
    `retail_micro` what the same kWh would have cost on their own contracts, `feed_in_micro` what the sellers would have got for it.
    `balance_nano` is the sum over all accounts: exactly 0.
    """

    traded_wh: int
    import_wh: int
    export_wh: int
    price_micro: int | None
    bought_micro: int | None
    retail_micro: int | None
    feed_in_micro: int | None
    gain_nano: int
    least_gain_nano: int
    worse_off: int
    same_gain_nano: int
    self_consumption: Pair
    self_sufficiency: Pair
    peak_import_kw: Pair
    peak_export_kw: Pair
    broken: int
    broken_slots: int
    broken_without: int
    balance_nano: int
    balance_without_nano: int


def headlines(data: ReportData) -> Headlines:
    """All of them."""
    net = data.with_market.net_wh
    traded = checked_sum(data.bought_wh.sum(axis=1))
    paid, gain = checked_sum(data.paid_nano), data.gain_nano
    prices: list[int | None] = [None] * 4
    if traded:
        vat = _vat_on_trade(data, paid)
        bought = (paid + vat) // traded + charges_micro(data)
        prices = [paid // traded, bought, data.retail_nano // traded, data.feed_in_nano // traded]
    worlds = (data.with_market, data.without)
    peaks = [(float(w.flow.slack_p_kw.max()), -float(w.flow.slack_p_kw.min())) for w in worlds]
    return Headlines(
        traded_wh=traded,
        import_wh=checked_sum(np.maximum(net, 0).sum(axis=1)),
        export_wh=checked_sum(np.maximum(-net, 0).sum(axis=1)),
        price_micro=prices[0],
        bought_micro=prices[1],
        retail_micro=prices[2],
        feed_in_micro=prices[3],
        gain_nano=checked_sum(gain),
        least_gain_nano=int(gain.min()),
        worse_off=int((gain < 0).sum()),
        same_gain_nano=checked_sum(data.same_nano) - checked_sum(data.with_market.pays_nano),
        self_consumption=Pair(*(_kept(w, data.pv_wh, local, -1) for w, local in zip(worlds, (data.local_wh, None), strict=True))),
        self_sufficiency=Pair(*(_kept(w, data.load_wh, local, 1) for w, local in zip(worlds, (data.local_wh, None), strict=True))),
        peak_import_kw=Pair(max(peaks[0][0], 0.0), max(peaks[1][0], 0.0)),
        peak_export_kw=Pair(max(peaks[0][1], 0.0), max(peaks[1][1], 0.0)),
        broken=int(data.broken.sum()),
        broken_slots=int((data.broken > 0).sum()),
        broken_without=len(find_violations(data.network, data.without.flow)),
        balance_nano=balance_nano(data.with_market),
        balance_without_nano=balance_nano(data.without),
    )


def balance_nano(world: World) -> int:
    """What members pay less what the system accounts receive: exactly 0."""
    return checked_sum(world.pays_nano) - checked_sum(world.received_nano)


def _vat_on_trade(data: ReportData, paid_nano: int) -> int:
    local = data.terms.local
    return paid_nano * local.vat_basis_points // 10_000 if local.vat_on_trade else 0


def _kept(world: World, whole_wh: Int64, local_wh: Int64 | None, sign: int) -> float | None:
    """1 - (metered in the direction of `sign` - local) / whole."""
    whole = checked_sum(whole_wh.sum(axis=1))
    if whole == 0:
        return None
    metered = checked_sum(np.maximum(sign * world.net_wh, 0).sum(axis=1))
    local = 0 if local_wh is None else checked_sum(local_wh)
    return 1 - (metered - local) / whole


def kind_of(member: Member) -> str:
    """What stands behind a meter, in one of six words.

    >>> kind_of(Member("home-1", "bus", "flat", "truthful", ()))
    'Home'
    """
    loads = {load.kind for load in member.loads}
    if member.battery is not None:
        return "Solar and battery" if member.pv else "Battery"
    if member.pv:
        return "Solar"
    if loads & {"business", "farm"}:
        return "Business or farm"
    return "Home with car or heat pump" if loads & {"ev", "heat_pump"} else "Home"
