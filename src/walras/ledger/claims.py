"""Claims on attested generation in Python: what a leaf is worth, mint it, use it.

A claim is one watt-hour that one meter fed in during one slot of one feeder. Whoever wants it brings the leaf, its way up to
the readings root, and what the settlement committed to; nobody else pays anything. `claimable_wh` is the contract's judgement of a
leaf, off the chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from walras.ledger._keccak import keccak256
from walras.ledger.calls import Contract
from walras.ledger.chain import Chain, Receipt
from walras.ledger.encoding import Header, NetPositions, pack_positions
from walras.ledger.keys import SigningKey
from walras.ledger.leaf_proofs import FIRST_SUBSTITUTE_QUALITY, ShownLeaf, read_leaf

CLAIM_GAS = 600_000


class ClaimRefusal(Enum):
    """Why a leaf gives no claim; the contract's error of the same name."""

    NOT_UNDER_ROOT = "NotUnderRoot"
    NOT_A_READING = "NotAReading"
    WRONG_SLOT = "WrongSlot"
    NOT_MEASURED = "NotMeasured"
    NOTHING_GENERATED = "NothingGenerated"


@dataclass(frozen=True, slots=True)
class SettledRoot:
    """What a slot's settlement (or its newest correction) committed to, as far as a claim needs it."""

    header: Header
    positions_hash: bytes

    def as_arguments(self) -> tuple[tuple[bytes, bytes, bytes], bytes]:
        """As the contract takes it."""
        return (self.header.readings_root, self.header.trades_root, self.header.journal_head), self.positions_hash


def settled_root(header: Header, positions: NetPositions) -> SettledRoot:
    """From the settlement's header and its positions (or a correction's differences)."""
    return SettledRoot(header, keccak256(pack_positions(positions)))


def claimable_wh(slot: int, settled: SettledRoot, shown: ShownLeaf) -> int | ClaimRefusal:
    """The watt-hours that a leaf is worth in `slot`, or why none: a measured reading of that slot under that root with export."""
    if shown.root() != settled.header.readings_root:
        return ClaimRefusal.NOT_UNDER_ROOT
    reading = read_leaf(shown.leaf)
    if reading is None:
        return ClaimRefusal.NOT_A_READING
    if reading.slot != slot:
        return ClaimRefusal.WRONG_SLOT
    if reading.quality >= FIRST_SUBSTITUTE_QUALITY:
        return ClaimRefusal.NOT_MEASURED
    return reading.export_wh or ClaimRefusal.NOTHING_GENERATED


def claim_id(settlement: str, slot: int) -> int:
    """The token id: zone (the settlement's address) above, vintage in the low 64 bits.

    >>> hex(claim_id("0x00000000000000000000000000000000000000ff", 7))
    '0xff0000000000000007'
    """
    return int(settlement, 16) << 64 | slot


def claim(
    chain: Chain, contract: Contract, owner: SigningKey, slot: int, settled: SettledRoot, shown: ShownLeaf, *, timestamp: int
) -> int:
    """Mint to the meter's owner what the leaf is worth; the watt-hours. LedgerError with the contract's refusal."""
    arguments = (slot, settled.as_arguments(), shown.as_arguments())
    receipt = contract.act(chain, owner, "claim", *arguments, timestamp=timestamp, gas_limit=CLAIM_GAS)
    return int(dict(contract.events(receipt))["Claimed"]["energyWh"])


def use(
    chain: Chain, contract: Contract, holder: SigningKey, slot: int, energy_wh: int, purpose: str, *, timestamp: int
) -> Receipt:
    """Burn `energy_wh` of the slot for good, for what `purpose` says."""
    return contract.act(chain, holder, "use", slot, energy_wh, purpose, timestamp=timestamp)


def held_wh(chain: Chain, contract: Contract, holder: str, slot: int) -> int:
    """Watt-hours of the slot's claims that `holder` has; those of an expired slot only wait to be swept."""
    number = contract.view(chain, "idOf", slot)[0]
    return int(contract.view(chain, "balanceOf", holder, number)[0])
