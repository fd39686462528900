"""Staked oracles in Python: appoint only who is bonded, convict who said two things.

The evidence is the oracle's own two signatures; the contract needs nobody's word. Amounts are token units (micro-units of the
test currency).
"""

from __future__ import annotations

from dataclasses import dataclass

from walras.ledger.calls import Contract
from walras.ledger.chain import Chain, Receipt
from walras.ledger.keys import SigningKey


@dataclass(frozen=True, slots=True)
class BondTerms:
    """`treasury` receives what is slashed but for `reporter_share_bp` (basis points, at most 5,000) of it; delay in seconds."""

    treasury: str
    minimum_stake: int
    unbonding_delay_s: int
    reporter_share_bp: int


@dataclass(frozen=True, slots=True)
class SignedRoot:
    """One oracle's signature (65 bytes) over a root for a slot; what an equivocation is proved with, two at a time.

    `revision` 0 is the root of the settlement, n that of the slot's n-th correction.
    """

    slot: int
    root: bytes
    signature: bytes
    revision: int = 0


def bonded(chain: Chain, contract: Contract, oracle: str) -> bool:
    """Whether the oracle has its full stake in, is not leaving and was never convicted."""
    return bool(contract.view(chain, "isBonded", oracle)[0])


def stake_of(chain: Chain, contract: Contract, oracle: str) -> int:
    """Token units at stake."""
    return int(contract.view(chain, "bondOf", oracle)[0])


def slash(
    chain: Chain, contract: Contract, reporter: SigningKey, first: SignedRoot, second: SignedRoot, *, timestamp: int
) -> Receipt:
    """Convict the oracle that signed both. LedgerError with the contract's reason where the two prove nothing."""
    arguments = (first.root, first.signature, second.root, second.signature)
    if first.revision == 0:
        return contract.act(chain, reporter, "slash", first.slot, *arguments, timestamp=timestamp)
    return contract.act(chain, reporter, "slashCorrection", first.slot, first.revision, *arguments, timestamp=timestamp)


def bribe_floor(oracles: int, threshold: int, stake: int, reporter_share_bp: int = 0) -> int:
    """Token units a briber must at least make good to get two conflicting roots attested: 2m - n oracles sign both and lose all.

    A bribed oracle that reports itself through a friend saves `reporter_share_bp` of its stake; the floor is then what
    nobody gets back.
    >>> bribe_floor(4, 3, 1_000), bribe_floor(4, 3, 1_000, reporter_share_bp=1_000)
    (2000, 1800)
    """
    return (2 * threshold - oracles) * (stake - stake * reporter_share_bp // 10_000)
