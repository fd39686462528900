"""The public terms of a run that is settled in batches: how long they are, how they are published, what the operator stakes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from walras.errors import Fault, InputError


@dataclass(frozen=True, slots=True)
class BatchTerms:
    """How a run is settled in batches: `slots` in each, `publish` as `calldata` or by the `committee` of oracles.

    `bond_units`, the operator's stake, is in token units, windows in seconds.
    """

    slots: int
    publish: str
    fraud_window_s: int
    exit_timeout_s: int
    bond_units: int

    def to_public(self) -> dict[str, Any]:
        """Plain values, for the journal."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def batch_terms_from_public(public: Mapping[str, Any]) -> BatchTerms:
    """The inverse of `BatchTerms.to_public`; InputError where a field is unknown or of another kind."""
    kinds = {name: str if name == "publish" else int for name in BatchTerms.__dataclass_fields__}
    if set(public) != set(kinds) or any(type(public[name]) is not kind for name, kind in kinds.items()):
        raise InputError("terms", [Fault("terms", "batches", dict(public), "the terms of batches")])
    return BatchTerms(**public)
