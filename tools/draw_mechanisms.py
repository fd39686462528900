"""Draws `docs/learn/book.json` under every mechanism: `python tools/draw_mechanisms.py` writes `docs/explain/mechanisms/NAME.svg`.

Bids from the dearest (blue, falling) and asks from the cheapest (orange, rising); what is filled is solid, what is not is
faint. A dot shows what each filled order pays or gets per kWh, a dashed line the one price where there is one.

The rule for blocks has a book of its own, `docs/learn/block_book.json`, drawn slot by slot: each slot's price dashed, its orders
as ticks as wide as they are large, and each block as a bar at its limit price over the slots it is in, solid if accepted.
"""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any, cast

from walras.market.book import clear_book, read_book
from walras.market.clearing import Clearing, volume_wh, welfare_nano
from walras.market.comparison import opening_extras
from walras.market.mechanism import Mechanism, run
from walras.market.orders import BUY, Orders
from walras.market.ranking import rank_rows
from walras.market.registry import MECHANISMS
from walras.units import format_energy, format_money, format_price

DOCS = Path(__file__).parent.parent / "docs"
BOOK = DOCS / "learn" / "book.json"
BLOCK_BOOK = DOCS / "learn" / "block_book.json"
PAGES = DOCS / "explain" / "mechanisms"

WIDTH, HEIGHT = 680, 330
LEFT, RIGHT, TOP, BOTTOM = 56, 16, 44, 44
COLOURS = {BUY: "#1f6fb5", -BUY: "#d9730d"}
STOCK_WH, FEED_IN, RETAIL = 1_000, 80_000, 290_000
"""The opening state of pools in these pictures: half full, priced between feed-in and retail."""


def picture(mechanism: Mechanism) -> str:
    """The small book cleared by `mechanism`, as SVG."""
    if mechanism.name == "blocks":
        return block_picture(mechanism)
    book = json.loads(BOOK.read_text(encoding="utf-8"))
    orders, conventions, extra = read_book(book, mechanism)
    extra |= opening_extras(STOCK_WH, FEED_IN, RETAIL)(mechanism, orders)
    done = run(mechanism, orders, conventions, None, extra)
    ids = [str(row["id"]) for row in book["orders"]]
    most_wh = max(int(orders.quantity_wh[orders.side == side].sum()) for side in (1, -1))
    dearest = int(orders.price_micro_per_kwh.max()) * 11 // 10
    parts = [_head(mechanism, orders, done), *_axes(most_wh, dearest)]
    for side in (1, -1):
        parts += _curve(orders, done, ids, side, most_wh, dearest)
    if done.price_micro_per_kwh is not None:
        y = _y(done.price_micro_per_kwh, dearest)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#444" stroke-dasharray="5 4"/>')
        parts.append(_text(WIDTH - RIGHT, y - 5, format_price(done.price_micro_per_kwh), "end"))
    return "\n".join([*parts, "</svg>", ""])


def block_picture(mechanism: Mechanism) -> str:
    """The small block book, as SVG."""
    book = json.loads(BLOCK_BOOK.read_text(encoding="utf-8"))
    told = cast(dict[str, Any], clear_book(book, mechanism.name))
    slots, dearest = len(told["slot_price_micro_per_kwh"]), max(row["price_micro_per_kwh"] for row in book["orders"]) * 11 // 10
    width = (WIDTH - LEFT - RIGHT) // slots
    blocks = {row["id"]: row["slot_wh"] for row in told["blocks"]}
    traded = told["volume_wh"] + told["block_volume_bought_wh"]
    facts = (
        f"traded {format_energy(traded)}, welfare {format_money(told['welfare_nano'], places=4)} ({told['status']}), "
        f"paradoxically rejected: {', '.join(told['paradoxically_rejected']) or 'none'}"
    )
    parts = [_title(mechanism, facts), *_axes(0, dearest, "slots; dashed: the price of each; bars: blocks, ticks: orders")]
    for t, price in enumerate(told["slot_price_micro_per_kwh"]):
        left, y = LEFT + t * width, _y(price, dearest)
        parts.append(f'<line x1="{left}" x2="{left + width}" y1="{y}" y2="{y}" stroke="#444" stroke-dasharray="5 4"/>')
        parts.append(_text(left + width // 2 - 6, y - 5, format_price(price), "end"))
        parts.append(_text(left + width // 2, HEIGHT - BOTTOM + 15, str(t), "middle"))
        here = [(row, fill) for row, fill in zip(book["orders"], told["fills"], strict=True) if row["slot"] == t]
        for row, fill in here:
            colour, y = COLOURS[BUY if row["side"] == "buy" else -BUY], _y(row["price_micro_per_kwh"], dearest)
            long, filled = (wh * (width - 40) // 4_400 for wh in (row["quantity_wh"], fill["filled_wh"]))
            parts.append(f'<rect x="{left + 4}" y="{y - 1}" width="{long}" height="3" fill="{colour}" opacity="0.25"/>')
            parts.append(f'<rect x="{left + 4}" y="{y - 1}" width="{filled}" height="3" fill="{colour}"/>')
            parts.append(_text(left + 4, y + 11, row["id"], "start", colour))
    for row in book["blocks"]:
        parts += _block(row, blocks[row["id"]], width, slots, dearest)
    return "\n".join([*parts, "</svg>", ""])


def _block(row: dict[str, Any], slot_wh: list[int], width: int, slots: int, dearest: int) -> list[str]:
    """One block at its limit over its slots (a flexible one over all of them: it may go anywhere)."""
    profile = [1] * slots if row.get("flexible") else row["quantity_wh"]
    y, colour = _y(row["price_micro_per_kwh"], dearest), COLOURS[BUY if row["side"] == "buy" else -BUY]
    inside = [t for t, wh in enumerate(profile) if wh]
    x1, x2 = LEFT + inside[0] * width + width // 2, LEFT + inside[-1] * width + width - 8
    parts = [f'<line x1="{x1}" x2="{x2}" y1="{y}" y2="{y}" stroke="{colour}" stroke-dasharray="2 3"/>']
    for t in inside:
        left = LEFT + t * width + width // 2
        style = f'fill="{colour}" fill-opacity="{0.8 if slot_wh[t] else 0.15}" stroke="{colour}"'
        parts.append(f'<rect x="{left}" y="{y - 4}" width="{width // 2 - 8}" height="8" {style}/>')
    name = f"{row['id']}, {'in' if any(slot_wh) else 'out'}"
    words = f"{row['id']}: {sum(slot_wh)} Wh at {format_price(row['price_micro_per_kwh'])} or better"
    parts.append(_text(x1 + 2, y - 7, name, "start", colour).replace("</text>", f"<title>{escape(words)}</title></text>"))
    return parts


def _head(mechanism: Mechanism, orders: Orders, done: Clearing) -> str:
    facts = (
        f"traded {format_energy(volume_wh(orders, done))}, welfare {format_money(welfare_nano(orders, done), places=4)}, "
        f"operator {format_money(done.surplus_nano, places=4)}"
    )
    return _title(mechanism, facts)


def _title(mechanism: Mechanism, facts: str) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11">',
            f"<title>{escape(mechanism.title)}: {facts}</title>",
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
            f'<text x="{LEFT}" y="18" font-size="14" font-weight="bold" fill="#222">{escape(mechanism.title)}</text>',
            _text(LEFT, 34, facts, "start"),
        ]
    )


def _axes(most_wh: int, dearest: int, below: str = "Wh, bids from the dearest, asks from the cheapest") -> list[str]:
    bottom = HEIGHT - BOTTOM
    parts = [f'<path d="M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}" fill="none" stroke="#888"/>']
    for price in range(0, dearest, 50_000):
        parts.append(_text(LEFT - 6, _y(price, dearest) + 4, str(price // 10_000), "end"))
    for energy in range(0, most_wh + 1, 500) if most_wh else ():
        parts.append(_text(_x(energy, most_wh), bottom + 15, str(energy), "middle"))
    parts.append(_text(WIDTH - RIGHT, bottom + 32, below, "end"))
    parts.append(_text(6, TOP - 2, "ct/kWh", "start"))
    return parts


def _curve(orders: Orders, done: Clearing, ids: list[str], side: int, most_wh: int, dearest: int) -> list[str]:
    rows = rank_rows(orders, (orders.side == side).nonzero()[0], dearest_first=side == BUY)
    parts, start = [], 0
    for row in rows.tolist():
        quantity, filled = int(orders.quantity_wh[row]), int(done.filled_wh[row])
        limit = int(orders.price_micro_per_kwh[row])
        y, colour = _y(limit, dearest), COLOURS[side]
        for first, last, opacity in ((start, start + filled, 1.0), (start + filled, start + quantity, 0.25)):
            if last > first:
                x, width = _x(first, most_wh), _x(last, most_wh) - _x(first, most_wh)
                parts.append(f'<rect x="{x}" y="{y - 3}" width="{width}" height="6" fill="{colour}" opacity="{opacity}"/>')
        middle = _x(start + quantity // 2, most_wh)
        parts.append(_text(middle, y - 7 if side == BUY else y + 15, ids[row], "middle", colour))
        if filled:
            paid = side * int(done.pay_nano[row]) // filled
            parts.append(
                f'<circle cx="{middle}" cy="{_y(paid, dearest)}" r="4" fill="#fff" stroke="{colour}" stroke-width="2">'
                f"<title>{escape(ids[row])}: {filled} Wh at {format_price(paid)}</title></circle>"
            )
        start += quantity
    return parts


def _x(energy_wh: int, most_wh: int) -> int:
    return LEFT + (WIDTH - LEFT - RIGHT) * energy_wh // most_wh


def _y(price: int, dearest: int) -> int:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * price // dearest


def _text(x: int, y: int, words: str, anchor: str, colour: str = "#444") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'


def main() -> None:
    """Write every picture."""
    for name, mechanism in MECHANISMS.items():
        (PAGES / f"{name}.svg").write_text(picture(mechanism), encoding="utf-8")


if __name__ == "__main__":
    main()
