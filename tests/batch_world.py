"""A batch settlement to test against: deployed beside the ledger of `ledger_world`, with money, a bond, and honest facts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ledger_world import COIN, World, chain_of
from walras.ledger import NetPositions, Receipt, SigningKey, net_positions, next_sender
from walras.ledger.batches import Batch, account_proof, attest_facts, make_batch, post_arguments, post_gas, withdraw
from walras.ledger.calls import create
from walras.ledger.steps import Fact, facts_tree
from walras.metering.merkle import MerkleTree

WINDOW_S = 3_600
TIMEOUT_S = 4 * WINDOW_S
BOND = 1_000
UNIT = 1_000  # nano in a token unit
PRICE = 200_000  # micro per kWh
Flows = Mapping[int, int]
"""Account to Wh bought (negative: sold) from neighbours, summing to zero."""


class Batches:
    """Members with `paid_in` token units each behind batches, an operator with its bond."""

    def __init__(self, world: World, *, paid_in: int = 1_000_000, first_slot: int = 0) -> None:
        self.world, self.chain, self.keys = world, world.chain, world.keys
        terms = (world.addresses.currency, world.addresses.registry, (WINDOW_S, TIMEOUT_S), BOND, 0, first_slot)
        self.contract = create(self.chain, self.keys.admin, "BatchSettlement", *terms, timestamp=world.now)
        self.operator = self.keys.operator
        total = paid_in * world.members + 100 * BOND
        assert world.send(self.operator, "TestCurrency", "mint", self.operator.address, total).status == 1
        assert world.send(self.operator, "TestCurrency", "approve", self.contract.address, total).status == 1
        self.must(self.operator, "addBond", BOND)
        for account in range(world.members):
            if paid_in:
                self.must(self.operator, "deposit", account, paid_in)
        self.slot = first_slot
        self.words: list[int] = []

    def send(self, key: SigningKey, function: str, *arguments: object, gas_limit: int = 16_000_000) -> Receipt:
        raw = self.contract.transaction(next_sender(self.chain, key), function, *arguments, gas_limit=gas_limit)
        receipt = self.chain.send(raw, timestamp=self.world.now)
        self.world.now = receipt.timestamp
        return receipt

    def must(self, key: SigningKey, function: str, *arguments: object) -> Receipt:
        receipt = self.send(key, function, *arguments)
        assert receipt.refusal is None, receipt.refusal
        return receipt

    def fetch(self, account: int, index: int, words: list[int]) -> int:
        """Token units that the member receives against that batch's final state."""
        member = self.keys.member(account)
        before = self.world.tokens(member.address)
        withdraw(self.chain, self.contract, member, index, words, account, timestamp=self.world.now)
        return self.world.tokens(member.address) - before

    def view(self, function: str, *arguments: object) -> object:
        found = self.contract.view(self.chain, function, *arguments)
        return found[0] if len(found) == 1 else found

    def facts(self, flows: Sequence[Flows], first_slot: int | None = None) -> list[Fact]:
        """Honest facts: everybody meters exactly what it traded at one price."""
        first = self.slot if first_slot is None else first_slot
        members = range(self.world.members)
        return [self.fact(first + at, account, flow.get(account, 0)) for at, flow in enumerate(flows) for account in members]

    def fact(self, slot: int, account: int, wh: int) -> Fact:
        bought, sold = max(wh, 0), max(-wh, 0)
        return Fact(slot, account, bought, sold, bought, sold, PRICE, PRICE, 0, 0, 0)

    def honest(self, flows: Sequence[Flows]) -> tuple[Batch, list[int], list[Fact], MerkleTree]:
        """The batch of what the facts say, the state after it, the facts and their tree."""
        facts = self.facts(flows)
        tree = facts_tree(facts)
        positions = [rows(flow) for flow in flows]
        batch, words = make_batch(self.words, self.world.members, self.slot, positions, tree.root, bytes(32))
        return batch, words, facts, tree

    def post(self, batch: Batch, oracles: Sequence[int] = (0, 1, 2), key: SigningKey | None = None) -> Receipt:
        signatures = attest_facts(self.contract, batch, [self.keys.oracle(index) for index in oracles])
        return self.send(key or self.operator, "post", *post_arguments(batch, signatures), gas_limit=post_gas(batch))

    def post_honest(self, flows: Sequence[Flows]) -> Receipt:
        batch, words, _, _ = self.honest(flows)
        receipt = self.post(batch)
        assert receipt.refusal is None, receipt.refusal
        self.words, self.slot = words, self.slot + len(flows)
        return receipt

    def ask(self, account: int, nano: int) -> Receipt:
        """Ask for money back, with the proof of the last state that is known here."""
        return self.send(self.keys.member(account), "requestWithdrawal", nano, *account_proof(self.words, account))

    def must_ask(self, account: int, nano: int) -> None:
        receipt = self.ask(account, nano)
        assert receipt.refusal is None, receipt.refusal

    def collateral(self, batch_index: int) -> object:
        """Account to collateral for a posted batch, as the contract has it."""
        era = self.contract.view(self.chain, "batchOf", batch_index)[6]
        return lambda account: self.contract.view(self.chain, "collateralAt", account, era)[0]


def rows(flow: Flows) -> NetPositions:
    """The positions of flows at `PRICE`."""
    accounts = sorted(account for account, wh in flow.items() if wh)
    return net_positions(accounts, [flow[a] * PRICE for a in accounts], [flow[a] for a in accounts])


ONE_COIN_WH = COIN // PRICE

DAY: list[dict[int, int]] = [{1: 500, 2: -500}, {}, {1: -200, 2: -100, 3: 300}]
"""Three slots among five members, the middle one without trades."""


@contextmanager
def batches_on(kind: str, paid_in: int = 1_000_000) -> Iterator[Batches]:
    """Batches of five members, with so many token units each, on a chain of that kind."""
    with chain_of(kind) as chain:
        yield Batches(World(chain, members=5), paid_in=paid_in)
