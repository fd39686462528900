"""Where a run begins on contracts that stand: what every account had there before the run's first slot.

The record of such a run carries it (`opening` in `ledger_deployed`), so that balances and batches follow from the record alone; the
audit holds both against the chain. On new contracts there is no opening: everything begins at zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from walras.errors import LedgerError
from walras.ledger import Chain, FoundLog, LedgerAddresses, ReadableChain, account_words, next_slot
from walras.ledger.abi import artifact, read_event
from walras.ledger.batches import NAME, read_post_call, root_of_state, state_after
from walras.ledger.calls import Contract
from walras.ledger.encoding import split_word
from walras.ledger.steps import running_energy, running_payment, running_word


@dataclass(frozen=True, slots=True)
class Opening:
    """Accounts as a run finds them, columns [accounts] of whole numbers.

    next_slot      the lowest slot that may still be settled
    balance_nano   in escrow, less all that was settled; `paid_in_nano` only what was paid in (the same where slots are settled
                   each by itself)
    energy_wh      running energy taken from the grid
    batches        posted before
    """

    next_slot: int
    balance_nano: tuple[int, ...]
    paid_in_nano: tuple[int, ...]
    energy_wh: tuple[int, ...]
    batches: int = 0

    @property
    def words(self) -> tuple[int, ...]:
        """The state that the next batch follows on; of no account before the first."""
        if not self.batches:
            return ()
        columns = zip(self.paid_in_nano, self.balance_nano, self.energy_wh, strict=True)
        return tuple(running_word(paid - balance, energy) for paid, balance, energy in columns)

    def to_public(self) -> dict[str, Any]:
        """Plain whole numbers, for the journal."""
        names = ("balance_nano", "paid_in_nano", "energy_wh")
        return {name: list(getattr(self, name)) for name in names} | {"next_slot": self.next_slot, "batches": self.batches}


def opening_from_public(deployed: Mapping[str, Any]) -> Opening | None:
    """The inverse of `to_public`, out of the public part of `ledger_deployed`; None on contracts that were new."""
    if "opening" not in deployed:
        return None
    o = deployed["opening"]
    return Opening(o["next_slot"], tuple(o["balance_nano"]), tuple(o["paid_in_nano"]), tuple(o["energy_wh"]), o["batches"])


def check_node(chain: Chain, deployed: Mapping[str, Any]) -> None:
    """LedgerError where a node is of another chain than the record's, or its chain does not have the record's contracts."""
    if deployed["chain_id"] != chain.chain_id:
        raise LedgerError(
            f"the run settled on chain {deployed['chain_id']}, the node is of chain {chain.chain_id}",
            thing=chain.chain_id,
            way_out="give the address of a node of that chain",
        )
    wanted = {name: str(deployed[name]) for name in ("currency", "registry", "settlement", "batches") if name in deployed}
    missing = [f"{name} at {address}" for name, address in wanted.items() if not chain.code(address)]
    if missing:
        raise LedgerError(
            f"the node's chain {chain.chain_id} does not have the run's contracts: {', '.join(missing)}",
            thing=missing,
            way_out="give the address of a node of the chain that the run settled on (test nodes may share a chain id)",
        )


def opening_of_settlement(chain: Chain, addresses: LedgerAddresses, accounts: int) -> Opening:
    """What the accounts of a `Settlement` are now."""
    pairs = [split_word(word) for word in account_words(chain, addresses, range(accounts))]
    balances = tuple(balance for balance, _ in pairs)
    return Opening(next_slot(chain, addresses), balances, balances, tuple(energy for _, energy in pairs))


def opening_of_batches(chain: ReadableChain, contract: Contract, accounts: int) -> Opening:
    """What the accounts of a `BatchSettlement` are after the last batch posted, made again from the calldata of all batches.

    LedgerError where a batch was published by a committee: then its data are not on the chain.
    """
    era = int(contract.view(chain, "era")[0])
    paid_in = tuple(int(contract.view(chain, "collateralAt", account, era)[0]) for account in range(accounts))
    count = int(contract.view(chain, "batchCount")[0])
    words: list[int] = []
    for index, calldata in enumerate(posts_of(chain, contract, count)):
        if calldata[:4] != artifact(NAME).functions["post"].hash[:4]:
            raise LedgerError(
                f"batch {index} at {contract.address} was published by a committee: a new run cannot go on from it",
                thing=index,
                way_out="go on with the run that posted it (its --out folder), or deploy others with another manifest file",
            )
        words = state_after(read_post_call(calldata), words, int(contract.view(chain, "batchOf", index)[5]))
    if root_of_state(words) != bytes(contract.view(chain, "stateRoot")[0]):
        raise LedgerError(f"the batches at {contract.address} do not lead to the state that the contract has", thing=words)
    padded = [*words, *([0] * (accounts - len(words)))]
    balances = tuple(paid - running_payment(word) for paid, word in zip(paid_in, padded, strict=True))
    following = int(contract.view(chain, "nextSlot")[0])
    return Opening(following, balances, paid_in, tuple(running_energy(word) for word in padded), count)


def posts_of(chain: ReadableChain, contract: Contract, count: int) -> list[bytes]:
    """Calldata of the first `count` posts that stand, by index: the last that was made under each."""
    topic = next(t for t, event in artifact(NAME).events.items() if event.name == "BatchPosted")
    standing: dict[int, FoundLog] = {}
    for found in chain.logs(contract.address, topic):
        event = read_event(NAME, found.log.topics, found.log.data)
        assert event is not None
        standing[event[1]["index"]] = found
    return [chain.calldata(standing[index].transaction_hash) for index in range(count)]
