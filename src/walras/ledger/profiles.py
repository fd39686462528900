"""How to speak to a kind of chain: how many blocks make a receipt final, how long to wait, what gas may cost.

Three kinds, by name. A price of gas above the kind's cap is waited out, not paid: nothing is signed then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from walras.errors import LedgerError
from walras.ledger.transactions import DEFAULT_FEES, GWEI, Fees


@dataclass(frozen=True, slots=True)
class Profile:
    """How to speak to a kind of chain.

    confirmations: blocks on top of every receipt before the next step; finality_blocks: blocks on top of the last one before the
    whole counts as final; receipt_timeout_s: patience for one of them. Gas: free, or at most `cap_gwei` a unit, beyond which
    nothing is signed.
    """

    name: str
    confirmations: int
    finality_blocks: int
    receipt_timeout_s: float
    free_gas: bool
    cap_gwei: int


PROFILES: Mapping[str, Profile] = {
    "permissioned": Profile("permissioned", 0, 0, receipt_timeout_s=60, free_gas=True, cap_gwei=0),
    "l2": Profile("l2", 1, 900, receipt_timeout_s=3_600, free_gas=False, cap_gwei=5),
    "mainnet": Profile("mainnet", 2, 64, receipt_timeout_s=1_800, free_gas=False, cap_gwei=100),
}
"""A BFT chain is final at once; a rollup when its data is in a final block of the chain below (900 blocks of two seconds: half an
hour); proof of stake after two epochs of 32 blocks. `docs/explain/chains.md` has the sources."""


def fees_of(profile: Profile, ask: Callable[[], Fees]) -> Fees:
    """What to offer a unit of gas: nothing where the node asks nothing, on a chain whose gas is free; else what it suggests.

    LedgerError where that is above the profile's cap: a price spike is waited out, not paid.
    """
    suggested = ask()
    if profile.free_gas:
        return Fees(0, 0) if suggested.max_fee_per_gas == 0 else DEFAULT_FEES
    if suggested.max_fee_per_gas > profile.cap_gwei * GWEI:
        now = suggested.max_fee_per_gas / GWEI
        raise LedgerError(
            f"gas may cost {now:g} gwei now, more than the {profile.cap_gwei} of profile {profile.name}",
            thing=suggested,
            way_out="nothing was signed; wait until gas is cheaper and give the same command again",
        )
    return suggested
