"""A community in a file: who is a member, what stands behind each meter, by which rules they trade; and its data by slot."""

from __future__ import annotations

from walras.community.file import data_days, load_community, read_community, with_period
from walras.community.model import (
    Community,
    ForecastModel,
    Gates,
    Load,
    MarketRules,
    Member,
    MeteringRules,
    Pv,
    SettlementRules,
)
from walras.community.series import Series, member_bus, member_series, network, wholesale_micro_per_kwh
from walras.community.simbench import Imported, import_simbench

__all__ = [
    "Community",
    "ForecastModel",
    "Gates",
    "Imported",
    "Load",
    "MarketRules",
    "Member",
    "MeteringRules",
    "Pv",
    "Series",
    "SettlementRules",
    "data_days",
    "import_simbench",
    "load_community",
    "member_bus",
    "member_series",
    "network",
    "read_community",
    "wholesale_micro_per_kwh",
    "with_period",
]
