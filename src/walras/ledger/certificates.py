"""Certificates of local energy in Python: issue against a settled slot, retire with a receipt.

The proof of issue is what anybody can take from the chain: header and packed positions of the settlement, and of each correction
in order. One unit is one watt-hour given to the others (negative net energy) in one slot; the slot is the token id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from walras.errors import LedgerError
from walras.ledger._keccak import keccak256
from walras.ledger.calls import Contract
from walras.ledger.chain import Chain
from walras.ledger.encoding import Header, NetPositions, pack_positions
from walras.ledger.keys import SigningKey

ISSUE_GAS = 250_000
GAS_PER_POSITION = 900
"""Calldata at 16 gas a byte with the floor price of EIP-7623 (40), and hashing."""


@dataclass(frozen=True, slots=True)
class SettledRecord:
    """One settlement or correction of a slot, as it stands in its transaction."""

    header: Header
    positions: NetPositions


@dataclass(frozen=True, slots=True)
class RetirementReceipt:
    """Proof that `energy_wh` of the vintage `slot` was retired for `holder` and can never be used again."""

    number: int
    holder: str
    slot: int
    energy_wh: int
    beneficiary: str


def issue(
    chain: Chain, contract: Contract, member: SigningKey, slot: int, records: Sequence[SettledRecord], *, timestamp: int
) -> int:
    """Issue to `member` what its account gave in `slot`; the watt-hours. `records`: the settlement, then its corrections."""
    headers = [(r.header.readings_root, r.header.trades_root, r.header.journal_head) for r in records]
    packed = [pack_positions(r.positions) for r in records]
    gas = ISSUE_GAS + GAS_PER_POSITION * sum(len(r.positions) for r in records)
    receipt = contract.act(chain, member, "issue", slot, headers, packed, timestamp=timestamp, gas_limit=gas)
    return int(dict(contract.events(receipt))["Issued"]["energyWh"])


def retire(
    chain: Chain, contract: Contract, holder: SigningKey, slot: int, energy_wh: int, beneficiary: str, *, timestamp: int
) -> RetirementReceipt:
    """Burn `energy_wh` of vintage `slot` in the name of `beneficiary`."""
    receipt = contract.act(chain, holder, "retire", slot, energy_wh, beneficiary, timestamp=timestamp)
    content = dict(contract.events(receipt))["Retired"]
    return RetirementReceipt(content["number"], holder.address, slot, energy_wh, beneficiary)


def retire_for(
    chain: Chain,
    contract: Contract,
    owner: SigningKey,
    holder: str,
    slot: int,
    energy_wh: int,
    beneficiary: str,
    *,
    timestamp: int,
) -> RetirementReceipt:
    """Burn the owner's certificates with a receipt in the name of `holder` (ERC-1888's transfer and claim in one)."""
    arguments = (owner.address, holder, slot, energy_wh, b"", beneficiary.encode())
    receipt = contract.act(chain, owner, "safeTransferAndClaimFrom", *arguments, timestamp=timestamp)
    content = dict(contract.events(receipt))["Retired"]
    return RetirementReceipt(content["number"], holder, slot, energy_wh, beneficiary)


def citation(contract: Contract, receipt: RetirementReceipt) -> str:
    """One line that a greenhouse-gas account can cite: where the receipt stands, what was retired, of which vintage, for whom.

    >>> citation(Contract("EnergyCertificates", 1, "0xC0"), RetirementReceipt(3, "0xA0", 95, 1_500, "Mill Lane 4"))
    "Walras local energy, receipt 3 of 0xC0 on chain 1: 1500 Wh of slot 95 retired by 0xA0 for 'Mill Lane 4'"
    """
    return (
        f"Walras local energy, receipt {receipt.number} of {contract.address} on chain {contract.chain_id}: {receipt.energy_wh} Wh"
        f" of slot {receipt.slot} retired by {receipt.holder} for {receipt.beneficiary!r}"
    )


def check_receipt(chain: Chain, contract: Contract, receipt: RetirementReceipt) -> None:
    """LedgerError unless the contract holds this very receipt: what an auditor of a greenhouse-gas account does."""
    holder, slot, energy_wh, beneficiary = contract.view(chain, "receiptOf", receipt.number)
    found = (holder, slot, energy_wh, beneficiary)
    expected = (receipt.holder.lower(), receipt.slot, receipt.energy_wh, keccak256(receipt.beneficiary.encode()))
    if found != expected:
        raise LedgerError(
            f"receipt {receipt.number} of {contract.address} is not: {citation(contract, receipt)}",
            thing=receipt,
            way_out="read the receipt again from the chain; the number or the contract may be another",
        )


def held_wh(chain: Chain, contract: Contract, holder: str, slot: int) -> int:
    """Watt-hours of vintage `slot` that `holder` has and has not retired."""
    return int(contract.view(chain, "balanceOf", holder, slot)[0])
