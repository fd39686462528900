"""Where a run begins on contracts that stand: what every account had there before the run's first slot.

The record of such a run carries it (`opening` in `ledger_deployed`), so that balances and batches follow from the record alone; the
audit holds both against the chain. On new contracts there is no opening: everything begins at zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from walras.errors import LedgerError
from walras.ledger import Chain, FoundLog, LedgerAddresses, ReadableChain, account_words, next_slot
from walras.ledger.abi import artifact, read_event
from walras.ledger.batches import NAME, Batch, read_post_call, root_of_state, roots_of, state_after
from walras.ledger.calls import Contract
from walras.ledger.encoding import split_word
from walras.ledger.steps import redo, running_energy, running_payment, running_word, state_tree

NOTHING_STATED: Mapping[int, bytes] = MappingProxyType({})


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


def opening_of_batches(
    chain: ReadableChain, contract: Contract, accounts: int, stated: Mapping[int, bytes] = NOTHING_STATED
) -> Opening:
    """What the accounts of a `BatchSettlement` are after the last batch posted, made again from what was published of all batches:
    the calldata or, where a committee published, the positions `stated` by slot in the records of the runs that posted them.

    LedgerError where a committee published a batch and no record given has positions with its root.
    """
    era = int(contract.view(chain, "era")[0])
    paid_in = tuple(int(contract.view(chain, "collateralAt", account, era)[0]) for account in range(accounts))
    count = int(contract.view(chain, "batchCount")[0])
    words: list[int] = []
    for index, calldata in enumerate(posts_of(chain, contract, count)):
        posted = contract.view(chain, "batchOf", index)
        batch = rebuilt(posted, calldata, words, stated)
        if batch is None:
            raise LedgerError(
                f"batch {index} at {contract.address} was published by a committee, no record given has positions with its root",
                thing=index,
                way_out="--after with the folder of every run that posted to these contracts, or with its public record",
            )
        words = state_after(batch, words, int(posted[5]))
    if root_of_state(words) != bytes(contract.view(chain, "stateRoot")[0]):
        raise LedgerError(f"the batches at {contract.address} do not lead to the state that the contract has", thing=words)
    padded = [*words, *([0] * (accounts - len(words)))]
    balances = tuple(paid - running_payment(word) for paid, word in zip(paid_in, padded, strict=True))
    following = int(contract.view(chain, "nextSlot")[0])
    return Opening(following, balances, paid_in, tuple(running_energy(word) for word in padded), count)


def rebuilt(
    posted: tuple[object, ...], calldata: bytes, words: Sequence[int], stated: Mapping[int, bytes] = NOTHING_STATED
) -> Batch | None:
    """A posted batch (`batchOf`) on top of the state `words`: from the calldata of its post or, where a committee published it,
    from the positions `stated` by slot, as far as they have the root that was posted; else None."""
    if calldata[:4] == artifact(NAME).functions["post"].hash[:4]:
        return read_post_call(calldata)
    first, count, members = int(posted[3]), int(posted[4]), int(posted[5])  # type: ignore[call-overload]
    state, slots = list(words), []
    for slot in range(first, first + count):
        if slot not in stated:
            return None
        _, state = redo(state, members, stated[slot])
        slots.append((state_tree(state).root if state else bytes(32), stated[slot]))
    batch = Batch(first, tuple(slots), bytes(posted[2]), bytes(32))  # type: ignore[call-overload]
    return batch if roots_of(batch, root_of_state(words))[0] == posted[0] else None


def posts_of(chain: ReadableChain, contract: Contract, count: int) -> list[bytes]:
    """Calldata of the first `count` posts that stand, by index: the last that was made under each."""
    topic = next(t for t, event in artifact(NAME).events.items() if event.name == "BatchPosted")
    standing: dict[int, FoundLog] = {}
    for found in chain.logs(contract.address, topic):
        event = read_event(NAME, found.log.topics, found.log.data)
        assert event is not None
        standing[event[1]["index"]] = found
    return [chain.calldata(standing[index].transaction_hash) for index in range(count)]
