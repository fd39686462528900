"""Checking a recorded clearing as strictly as its mechanism allows: what an auditor runs on every slot.

The laws alone leave the operator room: a price elsewhere in the supporting interval, a favoured order among equals. This
closes it.

uniform            the clearing must be the very one that the conventions give (`certificate.verify_uniform`), in one pass
any other rule     whose whole input is orders and conventions: being a pure function it is run again and must agree in
                   every fill, payment, price and number of its certificate
with extra parts   (pools, clocks) the same if the parts are handed in, else the laws only

A record need not hold the trades; where it does they must agree as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from walras.errors import WalrasError
from walras.market.certificate import verify_uniform
from walras.market.clearing import Clearing
from walras.market.conventions import Conventions
from walras.market.laws import Finding, check_clearing, clearing_bytes
from walras.market.mechanism import Mechanism, run
from walras.market.orders import Orders


def recheck(
    mechanism: Mechanism,
    orders: Orders,
    conventions: Conventions,
    clearing: Clearing,
    network: object | None = None,
    extra: Mapping[str, object] | None = None,
) -> list[Finding]:
    """What is wrong with a recorded clearing; empty when it is right.

    >>> from walras.market.orders import make_orders
    >>> from walras.market.registry import mechanism_named
    >>> rule, book = mechanism_named("mcafee"), make_orders([1, 1, -1], [5, 5, 10], [9, 8, 1])
    >>> done = run(rule, book, Conventions())
    >>> recheck(rule, book, Conventions(), done)
    []
    >>> [str(finding) for finding in recheck(rule, book, Conventions(), replace(done, certificate={}))]
    ['run again: price, losses, trades or certificate are not what the rule gives']
    """
    findings = check_clearing(mechanism, orders, clearing, conventions)
    if clearing.mechanism != mechanism.name:
        findings.append(Finding("mechanism", f"cleared by {clearing.mechanism!r}, not by {mechanism.name!r}"))
    if findings:
        return findings
    if mechanism.name == "uniform":
        return verify_uniform(orders, conventions, clearing)
    if (mechanism.extra or mechanism.order_extra) and extra is None:
        return []
    try:
        again = run(mechanism, orders, conventions, network, extra)
    except WalrasError as error:
        return [Finding("run again", f"{mechanism.name} refuses this book: {error.message}")]
    return _differences(orders, clearing, again)


def _differences(orders: Orders, recorded: Clearing, again: Clearing) -> list[Finding]:
    if recorded.trades is None:
        again = replace(again, trades=None)
    if clearing_bytes(recorded) == clearing_bytes(again):
        return []
    findings = []
    for name in ("filled_wh", "pay_nano"):
        old, new = getattr(recorded, name), getattr(again, name)
        findings += [
            Finding("run again", f"order {orders.id[row]}: {name} is recorded as {old[row]}, the rule gives {new[row]}")
            for row in (old != new).nonzero()[0]
        ]
    return findings or [Finding("run again", "price, losses, trades or certificate are not what the rule gives")]
