"""Speed of the order book and the pools, each as a ratio to its goal, measured in one run.

The order book meets a stream of a million events (about 1,000 live orders, 38 % cancellations, 14 % marketable orders) in
batches of 1,000; the same loop in C, compiled here with `gcc -O3` where it is present, meets the same batches with the
same copies of the book. Times are the best of interleaved windows: on a shared machine the mean measures the neighbours.
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
from walras.market.constant_product import open_constant_product, swap_many
from walras.market.order_book import BookRules, Events, make_events, open_book, step

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


def load_c_loop(folder: str) -> Callable[..., None] | None:
    """The C loop with its argument types declared, or None without a compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    library = Path(folder) / "order_book.so"
    subprocess.run([compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", library, HERE / "order_book.c"], check=True)
    function = ctypes.CDLL(str(library)).run_events
    pointer, whole = ctypes.c_void_p, ctypes.c_int64
    function.argtypes = [pointer] * 7 + [whole] * 2 + [pointer] * 9 + [pointer] * 2 + [whole] + [pointer] * 3
    function.restype = None
    return function


def bench_step(batches: list[Events], window: int = 50) -> dict[str, object]:
    """Events a second through `step`: the book copied at every batch, fills and removals recorded in columns."""
    book = open_book(RULES)
    step(book, batches[0])
    best = 9e9
    for first in range(0, len(batches), window):
        start = time.perf_counter()
        kept = []
        for batch in batches[first : first + window]:
            book, done = step(book, batch)
            kept.append(done)
        best = min(best, time.perf_counter() - start)
    rate = window * BATCH / best
    return _row("order book, batches of 1,000", rate / 25e6, 1.0, f"{rate / 1e6:.1f} M events/s, goal 25")


def bench_against_c(batches: list[Events], window: int = 20) -> list[dict[str, object]]:
    """The loop alone, batch after batch on one state, against the same loop in C on another; outputs are compared."""
    with tempfile.TemporaryDirectory() as folder:
        in_c = load_c_loop(folder)
        if in_c is None:
            return []
        ours, theirs = _Loop(), _Loop()
        ratios, total, total_c = [], 9e9, 9e9
        for first in range(0, len(batches), window):
            part = [(batch, _columns(batch)) for batch in batches[first : first + window]]
            calls = [theirs.c_arguments(batch, columns) for batch, columns in part]
            start = time.perf_counter()
            for _, columns in part:
                kernel.run_events(*ours.state, ours.rules, columns, *ours.outputs)
            middle = time.perf_counter()
            for call in calls:
                in_c(*call)
            end = time.perf_counter()
            ratios.append((end - middle) / (middle - start))
            total, total_c = min(total, middle - start), min(total_c, end - middle)
            made = int(ours.state[5][kernel.N_FILLS])
            same = int(theirs.counts[0]) == made and np.array_equal(ours.outputs[0][:, :made], theirs.outputs[0][:, :made])
            if not same or not all(np.array_equal(a, b) for a, b in zip(ours.state[:5], theirs.state[:5], strict=True)):
                raise AssertionError("the C loop and the compiled loop disagree")
    rate, rate_c = (window * BATCH / t / 1e6 for t in (total, total_c))
    detail = f"loop alone {rate:.1f}, in C {rate_c:.1f} M events/s; median of interleaved pairs"
    return [_row("order book against C", float(np.median(ratios)), 0.8, detail)]


class _Loop:
    """One mutable state and its output arrays, for timing the loop without the copies."""

    def __init__(self) -> None:
        book = open_book(RULES, 4 * BATCH)
        self.state = [a.copy() for a in (book.nodes, book.levels, book.words, book.lanes, book.table, book.marks)]
        self.rules = (RULES.lowest_price_micro_per_kwh, RULES.tick_micro_per_kwh, RULES.levels, RULES.level_bits, 0, 0)
        self.room = 6 * BATCH
        self.outputs = [np.empty((8, self.room), np.int64), np.empty((6, self.room), np.int64)]
        self.outputs += [np.zeros(BATCH, np.int8), np.zeros(BATCH, np.int64)]
        self.counts = np.zeros(2, np.int64)
        self.grid = np.array([*self.rules[:5], 1], dtype=np.int64)

    def c_arguments(self, batch: Events, columns: tuple[np.ndarray, ...]) -> list[int]:
        fills, removed, status, filled = map(_pointer, self.outputs)
        bits = self.state[4].size.bit_length() - 1
        events = [*map(_pointer, columns), fills, removed, self.room, status, filled, _pointer(self.counts)]
        return [*map(_pointer, self.state), _pointer(self.grid), bits, batch.count, *events]


def _columns(batch: Events) -> tuple[np.ndarray, ...]:
    return tuple(getattr(batch, name) for name in Events.__slots__)


def bench_cold_start() -> dict[str, object]:
    """Import and first batch in a new process with the compiled cache in place."""
    code = (
        "import time; t = time.perf_counter();"
        "from walras.market.order_book import *;"
        "step(open_book(BookRules(0, 1, 100)), make_events([1], side=1, quantity_wh=1)); print(time.perf_counter() - t)"
    )
    runs = [float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout) for _ in range(4)]
    return _row("order book, next process", 1.5 / min(runs[1:]), 1.0, f"{min(runs[1:]):.2f} s to the first result, goal 1.5 s")


def bench_swaps(count: int = 1_000_000, rounds: int = 7) -> dict[str, object]:
    """Exact integer swaps a second against one constant product pool."""
    rng = np.random.default_rng(0)
    pool = open_constant_product(10_000_000, 3_000_000_000_000, 3_000)
    side, wh = rng.choice([1, -1], count), rng.integers(1, 5_000, count)
    swap_many(pool, side[:1], wh[:1])
    best = 9e9
    for _ in range(rounds):
        start = time.perf_counter()
        swap_many(pool, side, wh)
        best = min(best, time.perf_counter() - start)
    return _row("constant product swaps", count / best / 5e6, 1.0, f"{count / best / 1e6:.1f} M swaps/s, goal 5")


def _row(name: str, ratio: float, goal: float, detail: str) -> dict[str, object]:
    return {"name": name, "ratio": float(ratio), "goal": goal, "holds": bool(ratio >= goal), "detail": detail}


def results() -> list[dict[str, object]]:
    """Every figure of this file."""
    events = draw_stream()
    batches = [events.between(i, i + BATCH) for i in range(0, events.count, BATCH)]
    return [bench_step(batches), *bench_against_c(batches), bench_swaps(), bench_cold_start()]


if __name__ == "__main__":
    for result in results():
        print(result)
