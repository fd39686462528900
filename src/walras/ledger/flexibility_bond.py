"""A stake on delivered flexibility, in Python: the rule to the last unit, the agreed baseline as a tree, and the contract's calls.

    delivered = min(max(baseline - metered, 0), promised)                        Wh
    the provider earns delivered * (reward + stake), the buyer gets (promised - delivered) * (reward + stake) back

Wh times micro-units per kWh is nano-units exactly, so nothing is rounded and the two add up to what both put in. Metered energy is
net: positive taken from the grid, so feeding in counts as taking less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

from eth_abi.abi import encode

from walras.errors import LedgerError
from walras.ledger.calls import Contract
from walras.ledger.certificates import SettledRecord
from walras.ledger.chain import Chain, Receipt
from walras.ledger.encoding import pack_positions
from walras.ledger.keys import SigningKey
from walras.metering.merkle import KECCAK_SORTED, MerkleTree, tree_over


@dataclass(frozen=True, slots=True)
class FlexibilityTerms:
    """What is agreed: Wh promised in each of `slots` slots, reward and stake in micro per kWh; times in Unix seconds.

    `accept_by` is when the first slot begins, or sooner: who may accept later has seen what it metered.
    """

    provider: str
    first_slot: int
    slots: int
    promised_wh: int
    reward_micro: int
    stake_micro: int
    accept_by: int
    expires_at: int
    baseline_root: bytes

    def as_arguments(self) -> tuple[object, ...]:
        """As the contract takes it."""
        return astuple(self)

    @property
    def reward_nano(self) -> int:
        """The whole reward, which the buyer puts in."""
        return self.slots * self.promised_wh * self.reward_micro

    @property
    def stake_nano(self) -> int:
        """The whole stake, which the provider puts in."""
        return self.slots * self.promised_wh * self.stake_micro


def delivered_wh(baseline_wh: int, metered_wh: int, promised_wh: int) -> int:
    """Wh of the promise that were delivered.

    >>> [delivered_wh(1_000, metered, 400) for metered in (1_100, 700, 500)]
    [0, 300, 400]
    """
    return min(max(baseline_wh - metered_wh, 0), promised_wh)


def shares_nano(terms: FlexibilityTerms, delivered: int) -> tuple[int, int]:
    """(provider, buyer) nano-units of one slot in which `delivered` Wh of the promise came."""
    each = terms.reward_micro + terms.stake_micro
    return delivered * each, (terms.promised_wh - delivered) * each


def baseline_tree(baseline_wh: Mapping[int, int]) -> MerkleTree:
    """The tree that both agree on: baseline by slot, in the order of the mapping."""
    leaves = [encode(["uint64", "int256"], [slot, wh]) for slot, wh in baseline_wh.items()]
    return tree_over(leaves, KECCAK_SORTED)


def accept_offer(
    chain: Chain, contract: Contract, provider: SigningKey, number: int, baseline_wh: Mapping[int, int], *, timestamp: int
) -> Receipt:
    """Accept agreement `number` with its stake. LedgerError unless the offer stands on this very baseline, for each of its slots:
    whoever made the tree could have put a second, lower baseline of a slot under it, and would show that one."""
    terms = contract.view(chain, "agreementOf", number)[0][0]
    slots = range(int(terms[1]), int(terms[1]) + int(terms[2]))
    if set(baseline_wh) < set(slots) or baseline_tree(baseline_wh).root != bytes(terms[8]):
        raise LedgerError(
            f"offer {number} of slots {slots[0]} to {slots[-1]} stands on another baseline than the one given",
            thing=baseline_wh,
            way_out="ask the buyer for the baseline of every slot, and accept when it makes the root of the offer",
        )
    return contract.act(chain, provider, "accept", number, timestamp=timestamp)


def show_delivery(
    chain: Chain,
    contract: Contract,
    sender: SigningKey,
    number: int,
    slot: int,
    baseline_wh: Mapping[int, int],
    records: Sequence[SettledRecord],
    *,
    timestamp: int,
) -> Receipt:
    """Show a settled and final slot of agreement `number`: its settlement and corrections in order."""
    proof = list(baseline_tree(baseline_wh).proof(list(baseline_wh).index(slot)).siblings)
    headers = [(r.header.readings_root, r.header.trades_root, r.header.journal_head) for r in records]
    packed = [pack_positions(r.positions) for r in records]
    arguments = (number, slot, baseline_wh[slot], proof, headers, packed)
    gas = 400_000 + 1_400 * sum(len(r.positions) for r in records)
    return contract.act(chain, sender, "show", *arguments, timestamp=timestamp, gas_limit=gas)
