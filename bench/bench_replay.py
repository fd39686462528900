"""The whole year of rural3 replayed on one core, against its own AC sweeps and clearings alone."""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.harness import Result, at_most
from walras.community.file import load_community
from walras.grid import power_flow
from walras.ledger import LedgerKeys
from walras.market.clearing import Clearing
from walras.market.mechanism import run
from walras.market.orders import Orders
from walras.market.registry import mechanism_named
from walras.study.replay import replay
from walras.study.runner import make_terms
from walras.study.trading import Trading

YEAR = 366
GOAL_SECONDS = 30.0


def results() -> list[Result]:
    """Strategies, clearing, imbalance, bills and power flow of 35,136 slots of 118 members; processor time of one process."""
    community = load_community(Path(__file__).parent.parent / "examples" / "rural3.toml")
    community = replace(community, start=dt.date(2016, 1, 1), days=YEAR)
    trading = Trading(community)
    terms = make_terms(community, trading, LedgerKeys(bytes(32)))
    mechanism = mechanism_named(terms.mechanism)
    for _ in replay(trading, terms, community.grid.local_days(dt.date(2016, 6, 1), 2)):
        pass  # compiles
    books: list[Orders] = []

    def keep(_slot: int, orders: Orders, _clearing: Clearing) -> None:
        books.append(orders)

    started = time.process_time()
    net = np.concatenate([day.net_wh for day in replay(trading, terms, community.slots, keep)])
    whole = time.process_time() - started
    p = np.zeros((net.shape[0], trading.network.buses))
    np.add.at(p.T, trading.bus, net.T / 250.0)
    started = time.process_time()
    power_flow(trading.network, p)
    for orders in books:
        run(mechanism, orders, terms.conventions)
    bare = time.process_time() - started
    slots, homes = net.shape
    detail = f"{slots:,} slots ({slots * homes:,} home-slots) in {whole:.1f} s: {slots / whole:,.0f}/s; bare {bare:.1f} s"
    return [
        at_most("replay of a year, seconds of 30", whole / GOAL_SECONDS, 1.0, detail),
        at_most("replay of a year / its sweeps and clearings", whole / bare, 10.0, detail),
    ]
