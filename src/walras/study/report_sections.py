"""The first sections of a report in words: what it is, energy and price, the books, who supplied whom, the wires.

The rule: a title states what was found, computed, and never what was hoped for: where somebody is worse off or a limit is broken,
the same sentence says so. Everything that comes from a file is escaped.
"""

from __future__ import annotations

from html import escape

import numpy as np

from walras.grid import LINE, TRANSFORMER, find_violations
from walras.study.feeder_map import known_positions
from walras.study.report_data import ReportData, charges_micro
from walras.study.report_headlines import Headlines, Pair
from walras.study.report_html import figure, money, percent, table, when
from walras.units import checked_sum, format_energy, format_price


def _card(title: str, big: str, words: str) -> str:
    return f'<div class="card"><dt>{title}</dt><dd class="big">{big}</dd><dd>{words}</dd></div>'


def _instead(pair: Pair, show: str = "share") -> str:
    def text(value: float | None) -> str:
        return percent(value) if show == "share" else ("–" if value is None else f"{value:.1f}\u00a0kW")

    return f"without the market {text(pair.without)}"


def head(data: ReportData, h: Headlines) -> str:
    """What this is, and the figures."""
    terms = data.terms
    plants = sum(bool(m.pv) for m in data.community.members)
    batteries = sum(m.battery is not None for m in data.community.members)
    unfinished = "" if data.trust.closed else " The run is not finished: this page covers what is settled so far."
    lead = (
        f"{_who(data)} on one feeder, {plants} of them with solar and {batteries} with a battery, trade electricity with each "
        f"other every {terms.grid.minutes} minutes. Meters sign what is delivered, a smart contract pays, and everybody can check "
        f"every bill.{unfinished}"
    )
    return f"""<header id="summary"><p class="brand">Walras · an exchange for local electricity</p>
<h1>{escape(terms.name)}, {when(data)}</h1><p class="lead">{lead}</p>
<dl class="cards">{"".join(_cards(data, h))}</dl>
<p class="seal"><strong>{_balance_words(h)}</strong> Head of the journal: <code>{data.trust.head}</code></p></header>"""


def _who(data: ReportData) -> str:
    """Members in words: "113 homes and 5 businesses"."""
    kinds = [{load.kind for load in member.loads} for member in data.community.members]
    farms = sum("farm" in kind for kind in kinds)
    shops = sum("business" in kind and "farm" not in kind for kind in kinds)
    counts = (
        (len(kinds) - farms - shops, "home", "homes"),
        (shops, "business", "businesses"),
        (farms, "farm", "farms"),
    )
    words = [f"{count} {one if count == 1 else many}" for count, one, many in counts if count]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


def _balance_words(h: Headlines) -> str:
    if h.balance_nano == 0:
        return "All balances sum to zero, to the last nano-unit."
    return f"The balances do not sum to zero: {h.balance_nano} nano."


def _cards(data: ReportData, h: Headlines) -> list[str]:
    share = h.traded_wh / h.import_wh if h.import_wh else None
    price = "–" if h.price_micro is None else format_price(h.price_micro).replace(" ct/kWh", " <small>ct/kWh</small>")
    between = "nothing was traded"
    if h.bought_micro is not None and h.retail_micro is not None and h.feed_in_micro is not None:
        between = (
            f"buyers pay {format_price(h.bought_micro)} with local fees, not {format_price(h.retail_micro)} at retail; sellers "
            f"would get {format_price(h.feed_in_micro)} as feed-in"
        )
    worse = "no member is worse off" if h.worse_off == 0 else f'<span class="bad">{_worse(h.worse_off)}</span>'
    gain = money(h.gain_nano, data).replace(f" {data.terms.currency}", f" <small>{escape(data.terms.currency)}</small>")
    if h.gain_nano < 0:
        gain = f'<span class="bad">{gain}</span>'
    imports, exports = h.peak_import_kw.with_market or 0.0, h.peak_export_kw.with_market or 0.0
    if exports > imports:
        peak, words = (
            f"{exports:.1f} <small>kW export</small>",
            (f"{_instead(h.peak_export_kw, 'kw')}; highest import {imports:.1f} kW, {_instead(h.peak_import_kw, 'kw')}"),
        )
    else:
        peak, words = (
            f"{imports:.1f} <small>kW import</small>",
            (f"{_instead(h.peak_import_kw, 'kw')}; highest export {exports:.1f} kW, {_instead(h.peak_export_kw, 'kw')}"),
        )
    limits = (
        "cables, transformer and voltages, in every slot" if h.broken == 0 else f"in {h.broken_slots} of {data.slots.size} slots"
    )
    mood = "good" if h.broken == 0 else "bad"
    per_member = money(h.gain_nano // data.terms.members, data)
    return [
        _card(
            "Traded between neighbours",
            format_energy(h.traded_wh, 1).replace(" kWh", " <small>kWh</small>"),
            f"{percent(share)} of all that members take",
        ),
        _card("Average price", price, between),
        _card("Members gain together", gain, f"{per_member} a member; {worse}{_if_taken_back(data, h)}"),
        _card("Wire limits broken", f'<span class="{mood}">{h.broken}</span>', f"{limits}; without the market {h.broken_without}"),
        _card(
            "Self-consumption",
            percent(h.self_consumption.with_market),
            f"of the sun used at home or by neighbours; {_instead(h.self_consumption)}",
        ),
        _card(
            "Self-sufficiency",
            percent(h.self_sufficiency.with_market),
            f"of the load met at home or by neighbours; {_instead(h.self_sufficiency)}",
        ),
        _card("Peak at the transformer", peak, words),
        _card(
            "Settled on the chain",
            f"{data.trust.settled:,} <small>slots</small>",
            f"{data.trust.trades:,} trades, {data.trust.admitted:,} signed readings",
        ),
    ]


def _worse(count: int) -> str:
    """Who loses, in words.

    >>> _worse(1)
    '1 member is worse off'
    """
    return "1 member is worse off" if count == 1 else f"{count} members are worse off"


def _if_taken_back(data: ReportData, h: Headlines) -> str:
    """Where the wires took feed-in back, the two worlds do not feed in the same: the gain on the same metered energy beside it."""
    taken = sum(int(slot.curtailed_wh.sum()) for slot in data.wires)
    if not taken:
        return ""
    return (
        f". Without the market nobody keeps the limits and {format_energy(taken, 1)} more may be fed in; on the same metered "
        f"energy members gain {money(h.same_gain_nano, data)}"
    )


def day(data: ReportData, h: Headlines, minutes: int) -> str:
    """Energy and price over time."""
    drawn = "" if minutes == data.terms.grid.minutes else f" Each step is a mean over {'an hour' if minutes == 60 else 'a day'}."
    busiest = int(np.argmax(data.local_wh))
    moment = data.terms.grid.local(int(data.slots[busiest]))
    hours = float((data.local_wh > 0).mean())
    sun, load = checked_sum(data.pv_wh.sum(axis=1)), checked_sum(data.load_wh.sum(axis=1))
    several = data.slots.size * data.terms.grid.minutes > 25 * 60
    at = f"on {moment:%d %b} at {moment:%H:%M}" if several else f"at {moment:%H:%M}"
    first = f"Neighbours traded most {at}: {1e-3 * data.local_wh[busiest] / data.hours:.1f} kW"
    price = data.mean_price_ct
    known = price[~np.isnan(price)]
    second = "No price: nothing was traded"
    if known.size:
        second = f"The price moved between {known.min():.2f} and {known.max():.2f} ct/kWh, inside what feed-in pays and retail asks"
        if known.max() > data.retail_micro[:, 1].max() / 1e4 or (
            data.feed_in_rates.size and known.min() < data.feed_in_rates.min() / 1e4
        ):
            second = f"The price moved between {known.min():.2f} and {known.max():.2f} ct/kWh, at times outside feed-in and retail"
    title = f"{format_energy(sun, 0)} of sun against {format_energy(load, 0)} of load"
    caption = "Mean power of all members together in each slot; the transformer from the power flow, losses included."
    return f"""<section id="day"><p class="eyebrow">Energy and price</p><h2>{title}; {percent(hours)} of the slots saw trade</h2>
{figure("energy", first, caption + drawn)}
{figure("price", second, _price_caption(data), "short")}</section>"""


def _price_caption(data: ReportData) -> str:
    return (
        f"A buyer adds {format_price(charges_micro(data))} of local fees and VAT to the price, so it trades only below the "
        "dashed line of its contract; a seller compares with its own feed-in rate, higher for older plants. Gaps: no trade."
    )


def book(data: ReportData, which: str, count: int, busiest: int) -> str:
    """The supply and demand curves with their slider."""
    control = (
        '<div class="slots"><button type="button" id="book-before" aria-label="earlier slot">‹</button>'
        f'<input type="range" id="book-slot" min="0" max="{count - 1}" value="{busiest}" step="1" aria-label="slot">'
        '<button type="button" id="book-after" aria-label="later slot">›</button>'
        '<output id="book-time" for="book-slot"></output></div>'
    )
    return f"""<section id="book"><p class="eyebrow">Supply and demand</p><h2>How each price came about</h2>
<p>Members' programs send sealed orders before every slot: how much, and the most they pay or the least they take. Where
the two curves cross, the market clears by the rule <em>{escape(data.terms.mechanism)}</em>. Move the slider to see {which}.</p>
<figure><h3 id="book-words"></h3>{control}
<div class="plot" id="book-plot" role="img" aria-label="supply and demand curves"></div></figure></section>"""


def trades(data: ReportData) -> str:
    """Who supplied whom."""
    sold, bought = data.traded_wh.sum(axis=1), data.traded_wh.sum(axis=0)
    total = int(sold.sum())
    if total == 0:
        return '<section id="trades"><p class="eyebrow">Who supplied whom</p><h2>Nothing was traded</h2></section>'
    order = np.argsort(-sold, kind="stable")
    count = int(np.searchsorted(np.cumsum(sold[order]), total / 2)) + 1
    one_or_more = "one of them" if count == 1 else f"{count} of them"
    title = f"{int((sold > 0).sum())} members sold to {int((bought > 0).sum())}; {one_or_more} sold half of it"
    first = f"{escape(data.community.members[int(order[0])].id)} sold most: {format_energy(int(sold[order[0]]), 1)}"
    caption = (
        "Energy that counts, over the whole run. The auction pairs nobody, so pairs are drawn by a written rule: buyers and "
        "sellers in the order of their accounts, laid along one line. Each member's sums are exact."
    )
    return f"""<section id="trades"><p class="eyebrow">Who supplied whom</p><h2>{title}</h2>
{figure("matrix", first, caption, "square" if (sold > 0).sum() > 8 else "")}</section>"""


def wires(data: ReportData, h: Headlines) -> str:
    """Loading, voltages, the map, and broken limits in words."""
    flow, network = data.with_market.flow, data.network
    below = np.arange(network.buses) != network.root
    low, high = float(flow.v_pu[:, below].min()), float(flow.v_pu[:, below].max())
    title = "Every limit of the wires is kept" if h.broken == 0 else f"Limits of the wires are broken in {h.broken_slots} slots"
    voltage = f"Voltages stay between {low:.3f} and {high:.3f} pu"
    losses = float(flow.losses_kw.sum()) * data.hours
    losses0 = float(data.without.flow.losses_kw.sum()) * data.hours
    ins, outs, ins0, outs0 = (
        data.hours * float(np.maximum(sign * world.flow.slack_p_kw, 0).sum())
        for world in (data.with_market, data.without)
        for sign in (1, -1)
    )
    kept = "" if data.terms.wires is None else " and where feed-in is taken back to keep the limits"
    words = (
        "An AC power flow of what the meters measured, in every slot. A trade is a contract, not another current: the wires feel "
        f"the market only where batteries act differently{kept}. The transformer brought in {ins:,.0f} kWh and took out "
        f"{outs:,.0f} kWh, without the market {ins0:,.0f} and {outs0:,.0f} kWh; losses were {losses:.1f} kWh, without it "
        f"{losses0:.1f} kWh."
    )
    places = "at the place that the grid's data give" if known_positions(network) is not None else "on the ring of its depth"
    map_words = (
        f"Every dot is a bus, {places}, coloured by the voltage that strays most from nominal in the run; every line a cable or "
        "transformer by its highest loading; the square is the grid above. Hover for names. Not to scale."
    )
    return f"""<section id="wires"><p class="eyebrow">The wires</p><h2>{title}</h2><p>{words}</p>
{figure("loading", _highest_loading(data, None), "Highest of each kind in each slot. Dotted: the same devices without the market.")}
<div class="pair">{figure("voltage", voltage, "Lowest and highest bus in each slot. Dotted: without the market.", "tall")}
{figure("map", _highest_loading(data, LINE), map_words, "tall")}</div>{_broken_words(data, h)}</section>"""


def _highest_loading(data: ReportData, kind: int | None) -> str:
    """The most loaded branch (of a kind) in words."""
    network, flow = data.network, data.with_market.flow
    rows = np.flatnonzero(np.full(network.branches, True) if kind is None else network.branch_kind == kind)
    if not rows.size:
        return "Voltages of the feeder"
    slot, column = np.unravel_index(int(np.argmax(flow.loading[:, rows])), (data.slots.size, rows.size))
    branch = int(rows[column])
    what = "transformer" if network.branch_kind[branch] == TRANSFORMER else "line"
    at = data.terms.grid.local(int(data.slots[slot]))
    name, peak = escape(network.branch_names[branch]), 100 * float(flow.loading[slot, branch])
    if kind is None:
        return f"Highest loading {peak:.1f} %: {what} {name}, {at:%d %b %H:%M}"
    return f"The most loaded line, {name}, peaks at {peak:.1f} %"


def _broken_words(data: ReportData, h: Headlines) -> str:
    worlds = (("with the market", data.with_market), ("without the market", data.without))
    parts = []
    for name, world in worlds:
        found = find_violations(data.network, world.flow)
        if not len(found):
            continue
        keys = {(int(kind), int(index)) for kind, index in zip(found.kind, found.index, strict=True)}
        rows = []
        for kind, index in sorted(keys):
            mine = np.flatnonzero((found.kind == kind) & (found.index == index))
            worst = int(mine[np.argmax(found.excess[mine])])
            words = found.describe(data.network, worst).split(": ", 1)[1]
            at = data.terms.grid.local(int(data.slots[int(found.slot[worst])]))
            rows.append((float(found.excess[worst]), [escape(words), f"{mine.size}", f"{at:%d %b %H:%M}"]))
        rows.sort(key=lambda row: -row[0])
        more = f'<p class="note">and {len(rows) - 12} more</p>' if len(rows) > 12 else ""
        parts.append(
            f"<h3>Broken {name}</h3>" + table(["worst value", "slots", "at"], [cells for _, cells in rows[:12]], words=True) + more
        )
    if not parts:
        return ""
    return (
        f'<p class="note">Found by the power flow after the rule <em>{escape(data.terms.mechanism)}</em> had cleared.</p>'
        + "".join(parts)
    )
