"""From forecasts, prices and what batteries store to orders, and from cleared positions to what batteries do at delivery."""

from __future__ import annotations

from walras.strategies.dispatch import Dispatch, alone_dispatch, dispatch, firm_dispatch
from walras.strategies.forecast import DAY_AHEAD, LOAD, PV, ErrorModel, forecast
from walras.strategies.signals import Signals, make_signals
from walras.strategies.truthful import truthful_orders
from walras.strategies.zero_intelligence import zero_intelligence

__all__ = [
    "DAY_AHEAD",
    "LOAD",
    "PV",
    "Dispatch",
    "ErrorModel",
    "Signals",
    "alone_dispatch",
    "dispatch",
    "firm_dispatch",
    "forecast",
    "make_signals",
    "truthful_orders",
    "zero_intelligence",
]
