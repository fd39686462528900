"""Speed of the order book and the pools, each as a ratio to its goal, measured in one run.

The order book meets a stream of a million events (about 1,000 live orders, 38 % cancellations, 14 % marketable orders) in batches of
1,000; the same loop in C, compiled here with `gcc -O3` where it is present, meets the same batches with the same copies of the book.
Times are the best of interleaved windows: on a shared machine the mean measures the neighbours.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from walras.market import _order_kernel as kernel
from walras.market.order_book import Book, BookRules, Events, make_events, open_book, step

HERE = Path(__file__).parent
RULES = BookRules(0, 1, 3501)
BATCH = 1_000


def draw_stream(count: int = 1_000_000, seed: int = 1) -> Events:
    """Adds, marketable adds and cancels of live orders; deterministic in `seed`."""
    rng = np.random.default_rng(seed)
    book = open_book(RULES)
    parts = []
    drawn = next_id = 0
    while drawn < count:
        n = min(200, count - drawn)
        live = kernel.walk(book.nodes, book.levels, book.live_orders)
        ids = rng.permutation(book.nodes[live, kernel.ID])
        u = rng.random(n)
        cancel = (u < (0.38 if ids.size >= 1_000 else 0.2)) & (np.cumsum(u < 0.38) <= ids.size)
        side = rng.choice([-1, 1], n)
        id = np.empty(n, dtype=np.int64)
        id[cancel] = ids[: int(cancel.sum())]
        id[~cancel] = next_id + np.arange(n - int(cancel.sum()))
        next_id += n
        price = np.where(u > 0.86, 1750 + side * 60, 1750 - side * rng.geometric(0.02, n)).clip(0, 3500)
        batch = [id, cancel.astype(np.int64), side, id % 50, rng.integers(1, 200, n), price]
        parts.append(np.array(batch))
        drawn += n
        book, _ = step(book, _as_events(parts[-1]))
    return _as_events(np.concatenate(parts, axis=1))


def _as_events(a: np.ndarray) -> Events:
    return make_events(a[0], kind=a[1], side=a[2], participant=a[3], quantity_wh=a[4], price_micro_per_kwh=a[5])


def _pointer(array: np.ndarray) -> int:
    return array.ctypes.data


def load_c_loop(folder: str) -> Callable[[Book, Events], tuple[Book, int, int]] | None:
    """`step` with the C loop inside, or None without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    library = Path(folder) / "order_book.so"
    subprocess.run([compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", library, HERE / "order_book.c"], check=True)
    function = ctypes.CDLL(str(library)).run_events
    pointer, whole = ctypes.c_void_p, ctypes.c_int64
    function.argtypes = [pointer] * 7 + [whole] * 2 + [pointer] * 9 + [pointer] * 2 + [whole] + [pointer] * 3
    function.restype = None

    def step_in_c(book: Book, events: Events) -> tuple[Book, int, int]:
        rules, n = book.rules, events.count
        state = [a.copy() for a in (book.nodes, book.levels, book.words, book.lanes, book.table, book.marks)]
        room = book.live_orders + 2 * n
        fills, removed = np.empty((8, room), np.int64), np.empty((6, room), np.int64)
        status, filled, counts = np.zeros(n, np.int8), np.zeros(n, np.int64), np.zeros(2, np.int64)
        grid = np.array([rules.lowest_price_micro_per_kwh, rules.tick_micro_per_kwh, rules.levels, rules.level_bits, 0, 1])
        columns = [getattr(events, name) for name in Events.__slots__]
        function(
            *map(_pointer, state),
            _pointer(grid),
            book.table.size.bit_length() - 1,
            n,
            *map(_pointer, columns),
            _pointer(fills),
            _pointer(removed),
            room,
            *map(_pointer, (status, filled, counts)),
        )
        made, gone = fills[:, : counts[0]].copy(), removed[:, : counts[1]].copy()
        nodes, levels, words, lanes, table, marks = state
        return Book(rules, nodes, levels, words, lanes, table, marks), made.shape[1], gone.shape[1]

    return step_in_c


def bench_order_book(events: Events, window: int = 50) -> list[dict[str, object]]:
    """Events a second in batches of 1,000 (fills and removals recorded), and the ratio to C with the same copies."""
    batches = [events.between(i, i + BATCH) for i in range(0, events.count, BATCH)]
    with tempfile.TemporaryDirectory() as folder:
        in_c = load_c_loop(folder)
        book = twin = open_book(RULES, 2 * BATCH + 200)
        step(book, batches[0])
        best, best_c, ratios = 9e9, 9e9, []
        for first in range(0, len(batches), window):
            part = batches[first : first + window]
            fills = removals = 0
            start = time.perf_counter()
            for batch in part:
                book, done = step(book, batch)
                fills += done.fills.count
                removals += done.removals.count
            ours = time.perf_counter() - start
            best = min(best, ours)
            if in_c is None:
                continue
            fills_c = removals_c = 0
            start = time.perf_counter()
            for batch in part:
                twin, made, gone = in_c(twin, batch)
                fills_c += made
                removals_c += gone
            best_c = min(best_c, time.perf_counter() - start)
            ratios.append((time.perf_counter() - start) / ours)
            if (fills, removals) != (fills_c, removals_c) or not np.array_equal(book.levels, twin.levels):
                raise AssertionError("the C loop and the compiled loop disagree")
    rate = window * BATCH / best
    out = [_row("order book, batches of 1,000", rate / 25e6, 1.0, f"{rate / 1e6:.1f} M events/s, goal 25")]
    if ratios:
        ratio = best_c / best
        out.append(_row("order book against C", ratio, 0.8, f"best of windows {ratio:.2f}, median of pairs {np.median(ratios):.2f}"))
    return out


def bench_cold_start() -> dict[str, object]:
    """Import and first batch in a new process with the compiled cache in place."""
    code = (
        "import time; t = time.perf_counter();"
        "from walras.market.order_book import *;"
        "step(open_book(BookRules(0, 1, 100)), make_events([1], side=1, quantity_wh=1)); print(time.perf_counter() - t)"
    )
    runs = [float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout) for _ in range(4)]
    return _row("order book, next process", 1.5 / min(runs[1:]), 1.0, f"{min(runs[1:]):.2f} s to the first result, goal 1.5 s")


def _row(name: str, ratio: float, goal: float, detail: str) -> dict[str, object]:
    return {"name": name, "ratio": float(ratio), "goal": goal, "holds": bool(ratio >= goal), "detail": detail}


def results() -> list[dict[str, object]]:
    """Every figure of this file."""
    return [*bench_order_book(draw_stream()), bench_cold_start()]


if __name__ == "__main__":
    for result in results():
        print(result)
