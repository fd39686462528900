"""From oracles' votes to the public part of what they attest: the quorum's oracles, their signatures, the moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from walras.errors import MeteringError
from walras.ledger import join_signatures
from walras.metering import Disagreement, Vote, quorum
from walras.metering.oracle import Checker


def attested(
    slot: int, root: bytes, addresses: Sequence[str], threshold: int, votes: list[Vote], holds: Checker, at: int
) -> dict[str, Any]:
    """`root` with a quorum's signatures over it; MeteringError where no quorum of the oracles at `addresses` is for it."""
    result = quorum(votes, slot, range(len(addresses)), threshold, holds)
    if isinstance(result, Disagreement) or result.root != root:
        raise MeteringError(f"slot {slot}: no quorum of oracles for any root", thing=result)
    signatures = join_signatures([(addresses[vote.oracle], vote.signature) for vote in result.votes])
    return {"at": at, "root": root.hex(), "oracles": [v.oracle for v in result.votes], "signatures": signatures.hex()}
