"""The words of a report: one function a section, from data and headlines to HTML.

The rule: a title states what was found, computed, and never what was hoped for: where somebody is worse off or a limit is broken,
the same sentence says so. Everything that comes from a file is escaped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape

import numpy as np

from walras.exchange.terms import FIRM
from walras.grid import LINE, TRANSFORMER, find_violations
from walras.study.feeder_map import known_positions
from walras.study.report_data import ReportData, World, charges_micro
from walras.study.report_headlines import Headlines, Pair, kind_of
from walras.tariffs.bill import ACCOUNTS
from walras.units import Int64, checked_sum, format_energy, format_money, format_price

ACCOUNT_NAMES = {
    "supplier": "Supplier",
    "grid_operator": "Grid operator",
    "state": "State (levies, taxes, VAT)",
    "operator": "Market operator",
    "balancing": "Balancing",
}


def figure(name: str, title: str, caption: str = "", shape: str = "") -> str:
    """A figure with its finding as title; the script draws into the element `name`."""
    words = f"<figcaption>{caption}</figcaption>" if caption else ""
    label = f'<div class="plot {shape}" id="{name}" role="img" aria-label="{escape(title, quote=True)}"></div>'
    return f"<figure><h3>{title}</h3>{label}{words}</figure>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, last_is_sum: bool = False, words: bool = False) -> str:
    """A plain table; cells are HTML already. With `words` they wrap."""
    lines = []
    for number, row in enumerate(rows):
        mark = ' class="sum"' if last_is_sum and number == len(rows) - 1 else ""
        lines.append(f"<tr{mark}>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>")
    heads = "".join(f"<th>{cell}</th>" for cell in head)
    kind = ' class="facts-table"' if words else ""
    return f'<div class="scroll"><table{kind}><thead><tr>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def linked(text: str) -> str:
    """Escaped text with its addresses as links.

    >>> linked("SimBench, https://simbench.de.")
    'SimBench, <a href="https://simbench.de">https://simbench.de</a>.'
    """
    return re.sub(r"https?://[^\s,;<>\"]*[^\s,;<>\".]", lambda found: f'<a href="{found[0]}">{found[0]}</a>', escape(text, quote=False))


def percent(share: float | None) -> str:
    """A share for people."""
    return "–" if share is None else f"{100 * share:.1f} %"


def when(data: ReportData) -> str:
    """The days of the run in words."""
    grid = data.terms.grid
    first, last = grid.local(int(data.slots[0])), grid.local(int(data.slots[-1]))
    if first.date() == last.date():
        return f"{first.day} {first:%B %Y}"
    return f"{first.day} {first:%B %Y} to {last.day} {last:%B %Y}"


def money(nano: int, data: ReportData, places: int = 2) -> str:
    """Money with a typographic minus."""
    return format_money(nano, data.terms.currency, places).replace("-", "−")


def _card(title: str, big: str, words: str) -> str:
    return f'<div class="card"><dt>{title}</dt><dd class="big">{big}</dd><dd>{words}</dd></div>'


def _instead(pair: Pair, show: str = "share") -> str:
    def text(value: float | None) -> str:
        return percent(value) if show == "share" else ("–" if value is None else f"{value:.1f} kW")

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
    worse = "no member is worse off" if h.worse_off == 0 else f'<span class="bad">{h.worse_off} members are worse off</span>'
    gain = money(h.gain_nano, data).replace(f" {data.terms.currency}", f" <small>{escape(data.terms.currency)}</small>")
    imports, exports = h.peak_import_kw.with_market or 0.0, h.peak_export_kw.with_market or 0.0
    if exports > imports:
        peak, words = f"{exports:.1f} <small>kW export</small>", (
            f"{_instead(h.peak_export_kw, 'kw')}; highest import {imports:.1f} kW, {_instead(h.peak_import_kw, 'kw')}"
        )
    else:
        peak, words = f"{imports:.1f} <small>kW import</small>", (
            f"{_instead(h.peak_import_kw, 'kw')}; highest export {exports:.1f} kW, {_instead(h.peak_export_kw, 'kw')}"
        )
    limits = "cables, transformer and voltages, in every slot" if h.broken == 0 else f"in {h.broken_slots} of {data.slots.size} slots"
    mood = "good" if h.broken == 0 else "bad"
    per_member = money(h.gain_nano // data.terms.members, data)
    return [
        _card(
            "Traded between neighbours",
            format_energy(h.traded_wh, 1).replace(" kWh", " <small>kWh</small>"),
            f"{percent(share)} of all that members take",
        ),
        _card("Average price", price, between),
        _card("Members gain together", gain, f"{per_member} a member; {worse}"),
        _card("Wire limits broken", f'<span class="{mood}">{h.broken}</span>', f"{limits}; without the market {h.broken_without}"),
        _card(
            "Self-consumption", percent(h.self_consumption.with_market), f"of the sun used at home or by neighbours; {_instead(h.self_consumption)}"
        ),
        _card(
            "Self-sufficiency", percent(h.self_sufficiency.with_market), f"of the load met at home or by neighbours; {_instead(h.self_sufficiency)}"
        ),
        _card("Peak at the transformer", peak, words),
        _card(
            "Settled on the chain",
            f"{len(data.trust.gas):,} <small>slots</small>",
            f"{data.trust.trades:,} trades, {data.trust.admitted:,} signed readings",
        ),
    ]


def day(data: ReportData, h: Headlines, minutes: int) -> str:
    """Energy and price over time."""
    drawn = "" if minutes == data.terms.grid.minutes else f" Each step is a mean over {minutes // 60} hours."
    busiest = int(np.argmax(data.local_wh))
    moment = data.terms.grid.local(int(data.slots[busiest]))
    hours = float((data.local_wh > 0).mean())
    sun, load = checked_sum(data.pv_wh.sum(axis=1)), checked_sum(data.load_wh.sum(axis=1))
    first = f"Neighbours traded most at {moment:%H:%M}: {1e-3 * data.local_wh[busiest] / data.hours:.1f} kW"
    price = data.mean_price_ct
    known = price[~np.isnan(price)]
    second = "No price: nothing was traded"
    if known.size:
        second = f"The price moved between {known.min():.2f} and {known.max():.2f} ct/kWh, inside what feed-in pays and retail asks"
        if known.max() > data.retail_micro[:, 1].max() / 1e4 or (data.feed_in_rates.size and known.min() < data.feed_in_rates.min() / 1e4):
            second = f"The price moved between {known.min():.2f} and {known.max():.2f} ct/kWh, at times outside feed-in and retail"
    title = f"{format_energy(sun, 0)} of sun against {format_energy(load, 0)} of load"
    return f"""<section id="day"><p class="eyebrow">Energy and price</p><h2>{title}; {percent(hours)} of the slots saw trade</h2>
{figure("energy", first, f"Mean power of all members together in each slot; the transformer from the power flow, losses included.{drawn}")}
{figure("price", second, _price_caption(data), "short")}</section>"""


def _price_caption(data: ReportData) -> str:
    return (
        f"A buyer adds {format_price(charges_micro(data))} of local fees and VAT to the price, so it trades only below the dashed line of its "
        "contract; a seller compares with its own feed-in rate, which is higher for older plants. Gaps: no trade."
    )


def book(data: ReportData, which: str, count: int, busiest: int) -> str:
    """The supply and demand curves with their slider."""
    control = (
        '<div class="slots"><button type="button" id="book-before" aria-label="earlier slot">‹</button>'
        f'<input type="range" id="book-slot" min="0" max="{count - 1}" value="{busiest}" step="1" aria-label="slot">'
        '<button type="button" id="book-after" aria-label="later slot">›</button><output id="book-time" for="book-slot"></output></div>'
    )
    return f"""<section id="book"><p class="eyebrow">Supply and demand</p><h2>How each price came about</h2>
<p>Members' programs send sealed orders before every slot: how much, and the most they pay or the least they take. Where the two curves
cross, the market clears by the rule <em>{escape(data.terms.mechanism)}</em>. Move the slider to see {which}.</p>
<figure><h3 id="book-words"></h3>{control}<div class="plot" id="book-plot" role="img" aria-label="supply and demand curves"></div></figure></section>"""


def trades(data: ReportData) -> str:
    """Who supplied whom."""
    sold, bought = data.traded_wh.sum(axis=1), data.traded_wh.sum(axis=0)
    total = int(sold.sum())
    if total == 0:
        return '<section id="trades"><p class="eyebrow">Who supplied whom</p><h2>Nothing was traded</h2></section>'
    order = np.argsort(-sold, kind="stable")
    count = int(np.searchsorted(np.cumsum(sold[order]), total / 2)) + 1
    title = f"{int((sold > 0).sum())} members sold to {int((bought > 0).sum())}; {count} of them sold half of it"
    first = f"{escape(data.community.members[int(order[0])].id)} sold most: {format_energy(int(sold[order[0]]), 1)}"
    caption = (
        "Energy that counts, over the whole run. The auction pairs nobody, so pairs are drawn by a written rule: buyers and sellers in the "
        "order of their accounts, laid along one line. Each member's sums are exact."
    )
    return f"""<section id="trades"><p class="eyebrow">Who supplied whom</p><h2>{title}</h2>
{figure("matrix", first, caption, "square")}</section>"""


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
    words = (
        "An AC power flow of what the meters measured, in every slot. A trade is a contract, not another current: the wires feel the "
        f"market only where batteries act differently. The transformer brought in {ins:,.0f} kWh and took out {outs:,.0f} kWh, without "
        f"the market {ins0:,.0f} and {outs0:,.0f} kWh; losses were {losses:.1f} kWh, without it {losses0:.1f} kWh."
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
        parts.append(f"<h3>Broken {name}</h3>" + table(["worst value", "slots", "at"], [cells for _, cells in rows[:12]]) + more)
    if not parts:
        return ""
    return (
        '<p class="note">This market does not look at the wires when it clears; what it finds is reported, not hidden.</p>' + "".join(parts)
    )


def members(data: ReportData, h: Headlines) -> str:
    """Gains and bills of everybody."""
    kinds = [kind_of(member) for member in data.community.members]
    pairs = data.terms.members * data.slots.size
    if h.worse_off == 0:
        title = f"No member is worse off; the smallest gain is {money(h.least_gain_nano, data, 4)}"
    else:
        title = f"{h.worse_off} of {data.terms.members} members are worse off, the worst by {money(-h.least_gain_nano, data)}"
    if data.worse == 0:
        slots = f"In none of the {pairs:,} member-slots did anyone pay more than the own contract alone costs for the same metered energy."
    else:
        slots = (
            f"In {data.worse:,} of {pairs:,} member-slots a member paid more than its own contract alone costs for the same metered energy, "
            f"{money(checked_sum(data.worse_nano), data)} in all: {_worst_members(data)}."
        )
    rule = "firm: positions stand, deviations are bought and sold" if data.terms.rule == FIRM else "as delivered: trades count up to what both sides metered"
    stored = data.with_market.stored_wh[-1] / 1e3, data.without.stored_wh[-1] / 1e3
    left = checked_sum(data.with_market.left_nano) - checked_sum(data.without.left_nano)
    words = (
        f"{slots} Settlement rule: {rule}. The bar below also counts what batteries hold at the end: {stored[0]:.1f} kWh stored, without "
        f"the market {stored[1]:.1f} kWh, a difference worth {money(left, data)} to their owners' plans. On the same metered energy, as single "
        f"bills state it, members gain {money(h.same_gain_nano, data)}."
    )
    return f"""<section id="members"><p class="eyebrow">Members</p><h2>{title}</h2><p>{words}</p>
{figure("gains", _gains_title(data), "Bill without the market, less the bill with it, plus the worth of what is stored more (or less) at the end.")}
{_kinds_table(data, kinds)}{_member_table(data, kinds)}</section>"""


def _gains_title(data: ReportData) -> str:
    gain = np.sort(data.gain_nano)
    median = int(gain[gain.size // 2])
    return f"Gains from {money(int(gain[0]), data)} to {money(int(gain[-1]), data)}, half of the members above {money(median, data)}"


def _worst_members(data: ReportData) -> str:
    order = np.argsort(-data.worse_nano, kind="stable")[:6]
    listed = [f"{escape(data.community.members[int(m)].id)} {money(int(data.worse_nano[m]), data)}" for m in order if data.worse_nano[m]]
    return ", ".join(listed)


def _kinds_table(data: ReportData, kinds: Sequence[str]) -> str:
    gain, pays, without = data.gain_nano, data.with_market.pays_nano, data.without.pays_nano
    bought, sold = data.bought_wh.sum(axis=0), data.sold_wh.sum(axis=0)
    rows = []
    for kind in dict.fromkeys(kinds):
        mine = np.array([k == kind for k in kinds])
        count = int(mine.sum())
        means = [money(int(column[mine].sum()) // count, data) for column in (without, pays, gain)]
        rows.append([kind, f"{count}", *(f"{v[mine].sum() / 1e3:,.1f}" for v in (bought, sold)), *means])
    order = sorted(rows, key=lambda row: -float(row[-1].split()[0].replace("−", "-").replace(",", "")))
    head_cells = ["kind of member", "members", "bought, kWh", "sold, kWh", "mean bill without", "mean bill with", "mean gain"]
    return '<h3 style="margin-top:22px">By kind</h3>' + table(head_cells, order)


def _member_table(data: ReportData, kinds: Sequence[str]) -> str:
    net = data.with_market.net_wh
    sums = [np.maximum(net, 0).sum(axis=0), np.maximum(-net, 0).sum(axis=0), data.bought_wh.sum(axis=0), data.sold_wh.sum(axis=0)]
    left = data.with_market.left_nano - data.without.left_nano
    worths = [data.without.pays_nano, data.with_market.pays_nano, left, data.gain_nano]
    names = ["member", "kind", "contract", "taken, kWh", "given, kWh", "bought, kWh", "sold, kWh"]
    names += ["bill without", "bill with", "stored more, worth", "gain"]
    rows = []
    for m, member in enumerate(data.community.members):
        cells = [f"<td>{escape(member.id)}</td><td class=text>{kinds[m]}</td><td class=text>{escape(member.contract)}</td>"]
        cells += [f"<td>{int(v[m]) / 1e3:,.1f}</td>" for v in sums]
        cells += [f'<td data-v="{int(v[m])}">{_short(int(v[m]))}</td>' for v in worths]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    heads = "".join(
        f'<th{" class=text" if 0 < i < 3 else ""}><button type="button">{name}</button></th>' for i, name in enumerate(names)
    )
    return f"""<div class="tools"><h3>Every member, in {escape(data.terms.currency)}</h3>
<input type="search" id="member-search" placeholder="find a member, kind, contract" aria-label="find a member"></div>
<div class="scroll high"><table id="member-table"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>"""


def _short(nano: int, places: int = 3, plus: str = "") -> str:
    return (plus if nano > 0 else "") + format_money(nano, "", places).strip().replace("-", "−")


def money_section(data: ReportData, h: Headlines) -> str:
    """Who receives what in both worlds; sums to zero."""
    rows = []
    change: Int64 = data.with_market.received_nano - data.without.received_nano

    def members_receive(world: World) -> int:
        return -checked_sum(world.pays_nano)

    def row(name: str, with_market: int, without: int) -> list[str]:
        return [name, *(_short(v, 2) for v in (without, with_market)), _short(with_market - without, 2, "+")]

    rows.append(row("Members together", members_receive(data.with_market), members_receive(data.without)))
    for account, name in enumerate(ACCOUNTS):
        rows.append(row(ACCOUNT_NAMES[name], int(data.with_market.received_nano[account]), int(data.without.received_nano[account])))
    exact = [h.balance_without_nano, h.balance_nano, h.balance_nano - h.balance_without_nano]
    rows.append(["Sum of the exact figures", *(_short(-v, 9) for v in exact)])
    cash = checked_sum(data.without.pays_nano) - checked_sum(data.with_market.pays_nano)
    titles = {name: ACCOUNT_NAMES[name].split(" (")[0].lower() for name in ACCOUNTS}
    givers = [
        f"the {titles[name]} receives {money(-int(change[i]), data)} less"
        for i, name in sorted(enumerate(ACCOUNTS), key=lambda pair: int(change[pair[0]]))
        if change[i] < 0
    ]
    takers = [f"the {titles[name]} {money(int(change[i]), data)} more" for i, name in enumerate(ACCOUNTS) if change[i] > 0]
    title = f"Members pay {money(abs(cash), data)} {'less' if cash >= 0 else 'more'}"
    left = checked_sum(data.with_market.left_nano) - checked_sum(data.without.left_nano)
    stored = ""
    if left:
        stored = (
            f" {money(abs(left), data)} of it is worth of energy that batteries hold {'less' if left < 0 else 'more'} at the end than they "
            f"would have without the market; {money(h.gain_nano, data)} is gain."
        )
    words = (
        f"Money moves, none is made: {'; '.join([*givers, *takers]) or 'nobody receives less or more'}. A neighbour's kWh bears the reduced "
        f"fees and levies of the local tariff, and the supplier neither sells it nor pays feed-in for it.{stored}"
    )
    return f"""<section id="money"><p class="eyebrow">Money</p><h2>{title}, and this is where it comes from</h2><p>{words}</p>
{table([f"who receives, {escape(data.terms.currency)}", "without the market", "with it", "change"], rows, last_is_sum=True)}
<p class="note under">Lines are rounded to cents for reading, the last is the sum of the exact figures. Negative: the account pays.</p></section>"""


def trust(data: ReportData) -> str:
    """What was signed, attested and paid, and how to check it."""
    t, n = data.trust, data.terms.members
    gas = t.gas
    substituted = t.readings - t.admitted
    refused = ", ".join(f"{count:,} {escape(reason.replace('_', ' '))}" for reason, count in t.refused.items()) or "none"
    mean = sum(gas) // len(gas)
    later = gas[1:] or gas
    rows = [
        ["sealed orders, all opened later", f"{t.commitments:,}"],
        ["signed readings admitted", f"{t.admitted:,} of {t.readings:,}"],
        ["readings refused", refused],
        ["readings substituted", f"{substituted:,}"],
        [f"oracle signatures ({len(data.terms.oracles)} oracles, {data.terms.quorum} needed)", f"{t.attestations:,} over {len(gas):,} roots"],
        ["single trades under Merkle roots", f"{t.trades:,}"],
        ["transactions on the chain", f"{t.transactions:,}"],
        ["gas of a settled slot", f"{mean:,} on average, {min(later):,} to {max(gas):,}"],
        ["gas for each member and slot", f"{mean / n:,.0f}"],
        ["gas of all settlements", f"{sum(gas):,}"],
        ["paid into escrow", money(t.deposits_nano, data)],
        ["settlement contract", f"<code>{escape(t.contract)}</code>, chain {t.chain_id}"],
        ["journal entries", f"{t.entries:,}"],
    ]
    example = escape(data.community.members[0].id)
    return f"""<section id="trust"><p class="eyebrow">Trust</p><h2>{len(gas):,} slots settled, each attested by {data.terms.quorum} or more oracles</h2>
<p>Nobody needs to believe this page. The public record holds every order, clearing, root and transaction in one chain of hashes; the first
command checks all of it and runs the contract again, the second proves one member's bill against it.</p>
<pre>walras audit RUN
walras bill RUN {example}</pre>
{table(["what", "how much"], rows, words=True)}</section>"""


def method(data: ReportData) -> str:
    """How the figures are made, what they do not say, whose data they rest on."""
    homes = {load.profile for m in data.community.members for load in m.loads if load.kind == "household"}
    count = sum(load.kind == "household" for m in data.community.members for load in m.loads)
    shifted = any(load.shift_slots for m in data.community.members for load in m.loads)
    f = data.community.forecast
    shapes = ""
    if homes:
        moved = ", each moved by whole weeks and quarter hours so that they differ" if shifted else ""
        shapes = f"<li>{count} households draw on {len(homes)} measured shapes{moved}: their peaks are more alike than those of as many real homes.</li>"
    prices = data.community.prices
    wholesale = "" if prices is None else f"<li>Wholesale prices: {linked(prices.source)}. Licence: {linked(prices.licence)}.</li>"
    return f"""<section id="method"><p class="eyebrow">Method and data</p><h2>What these figures rest on</h2>
<ul class="facts">
<li>The neighbourhood is simulated from measured profiles; orders, clearing, signatures, admission, settlement and bills are the real path.</li>
<li>Without the market means: the same loads, sun, batteries, forecasts and contracts, and nobody trades. Batteries then act for their owner alone.</li>
<li>A gain is the bill without, less the bill with, plus the worth of what is stored more at the end by the owner's plan for the next day.</li>
<li>Orders rest on forecasts with errors of {f.load_error_percent} % (load) and {f.pv_error_percent} % (sun); what is paid rests on what was metered.</li>
{shapes}
<li>Local fees and levies are assumptions of the community file, as a trial may grant them; change them and run again.</li>
<li>Self-consumption and self-sufficiency count what stays behind a member's own meter and, with the market, what neighbours traded. A battery's charge counts when it is taken.</li>
<li>This page names members. It is made from the operator's journal; the public record knows them as account numbers only.</li>
</ul>
<h3>Data and licences</h3>
<ul class="facts"><li>Network and profiles: {linked(data.community.data.source)}. Licence: {linked(data.community.data.licence)}.</li>{wholesale}</ul></section>"""
