"""Batches against their twin in Python integers: honest and forged ones, proofs, withdrawals, pauses, the halt and the exits.

Assumed is what the contract assumes: somebody watches and proves a wrong batch before it is final. Then nobody loses a unit: every
account is covered at every moment, what is paid out is what the twin says, and each bug planted into the contract is found.
"""

from __future__ import annotations

from dataclasses import replace

import hypothesis.strategies as st
import pytest
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from batch_twin import Money, Posted, at, moved
from batch_world import BOND, PRICE, TIMEOUT_S, UNIT, WINDOW_S, Batches
from ledger_machines import hunting, machine_chain, machine_settings, prepared, run_machine
from ledger_planted import planted
from ledger_world import START, World, funded, row, stranger
from walras.ledger import Genesis, Receipt, join_signatures
from walras.ledger.batches import Batch, account_proof, data_digest, find_fraud, post_roots_arguments, steps_tree
from walras.ledger.steps import Fact, facts_tree, position_of, redo, running_payment, state_tree

MEMBERS = 3
FORGERIES = ("price", "skip", "balance", "energy", "order", "state", "stranger", "ghost")
accounts = st.integers(0, MEMBERS - 1)


def penniless() -> Batches:
    """Nobody paid anything in."""
    return funded_with(0)


def nearly_penniless() -> Batches:
    """One token unit each."""
    return funded_with(1)


def solvent() -> Batches:
    """3,000 token units each: fifteen watt-hours."""
    return funded_with(3_000)


def funded_with(units: int) -> Batches:
    """A batch settlement with so many token units of every member."""
    chain = machine_chain(Genesis(funded(MEMBERS), timestamp=START - 900))
    return Batches(World(chain, members=MEMBERS), paid_in=units)


STARTS = {0: penniless, 1: nearly_penniless, 3_000: solvent}


class BatchMachine(RuleBasedStateMachine):
    """Every rule does the same to the contract and to the twin."""

    @initialize(paid_in=st.sampled_from(list(STARTS)))
    def deploy(self, paid_in: int) -> None:
        self.b = prepared(STARTS[paid_in])
        self.world, self.keys = self.b.world, self.b.keys
        self.money = [Money([(0, 0), (0, paid_in * UNIT)]) for _ in range(MEMBERS)]
        self.batches: list[Posted] = []
        self.era, self.bond, self.made_at = 0, BOND, int(self.b.view("lastAct"))  # type: ignore[call-overload]
        self.last_act = self.made_at
        self.halted = self.paused = False
        self.out = [self.world.tokens(self.keys.member(a).address) for a in range(MEMBERS)]

    @property
    def now(self) -> int:
        return self.world.now

    def state(self) -> list[int]:
        return self.batches[-1].after if self.batches else []

    def final(self, posted: Posted) -> bool:
        return self.now >= posted.posted_at + WINDOW_S

    def watch(self) -> None:
        """Prove the first wrong batch that is not final: what somebody does all the time."""
        for index, posted in enumerate(self.batches):
            tree = facts_tree(list(posted.facts.values()))
            backing = {account: money.backing(posted.era) for account, money in enumerate(self.money)}
            fraud = find_fraud(posted.batch, posted.before, MEMBERS, posted.facts, tree, backing.__getitem__)
            assert (fraud is None) == posted.right or self.final(posted), posted
            if fraud is not None:
                receipt = self.b.send(stranger(), fraud.function, index, *fraud.arguments)
                assert receipt.refusal is None, receipt.refusal
                rest = self.bond - self.bond // 2
                self.money[0].paid_in.append((self.era, self.money[0].paid_in[-1][1] + rest * UNIT))
                self.bond = 0
                del self.batches[index:]
                self.last_act = self.batches[-1].posted_at if self.batches else self.made_at
                return

    @rule(account=accounts, units=st.sampled_from([0, 1, 500]), others=st.lists(accounts, max_size=2), many=st.booleans())
    def deposit(self, account: int, units: int, others: list[int], many: bool) -> None:
        """For one, or for several in one transfer."""
        payees = [account, *others] if many else [account]
        arguments: tuple[object, ...] = (payees, [units] * len(payees)) if many else (account, units)
        receipt = self.b.send(self.b.operator, "depositMany" if many else "deposit", *arguments)
        accepted = units > 0 and not self.halted and not self.paused
        assert receipt.status == int(accepted), receipt.refusal
        for payee in payees if accepted else []:
            money = self.money[payee]
            money.paid_in.append((self.era, money.paid_in[-1][1] + units * UNIT))

    @rule(
        account=accounts,
        asked=st.one_of(st.sampled_from([0, 999, 1_000, 10**12]), st.integers(0, 3_000 * UNIT)),
        beyond=st.sampled_from([None, None, 0, 1]),
        shown=st.sampled_from(["the last", "the last", "the one before", "nothing"]),
    )
    def request(self, account: int, asked: int, beyond: int | None, shown: str) -> None:
        """Any amount, or what is the member's own, or a nano more; with the proof, an older one, or none."""
        if beyond is not None:
            asked = max(0, self.own(account) + beyond)
        self.ask(
            account, asked, {"the last": self.state(), "nothing": []}.get(shown, self.batches[-1].before if self.batches else [])
        )

    def own(self, account: int) -> int:
        """Nano, by the last batch that stands."""
        return self.money[account].whole - (running_payment(self.state()[account]) if self.batches else 0)

    def ask(self, account: int, asked: int, shown: list[int]) -> None:
        money = self.money[account]
        receipt = self.b.send(self.keys.member(account), "requestWithdrawal", asked, *account_proof(shown, account))
        proved = not self.batches or state_tree(shown).root == state_tree(self.state()).root
        accepted = not money.exited and (asked == 0 or (proved and asked <= self.own(account)))
        assert receipt.status == int(accepted), receipt.refusal
        if accepted:
            money.ask(asked, self.era, (len(self.batches), self.batches[-1].era) if self.batches else (0, 0))

    @rule(account=accounts)
    def drop(self, account: int) -> None:
        """Anybody drops what a batch bounded that was taken back, and nothing else."""
        money = self.money[account]
        count, era = money.founded
        stands = count == 0 or (count <= len(self.batches) and self.batches[count - 1].era == era)
        receipt = self.b.send(stranger(), "dropUnfounded", account)
        assert receipt.status == int(money.leaving > 0 and not stands), receipt.refusal
        if receipt.status:
            money.release(money.leaving, self.era)
            money.leaving = 0

    @rule(account=accounts, asked=st.integers(1, 10**12), posts=st.booleans())
    def ask_by_a_wrong_batch(self, account: int, asked: int, posts: bool) -> None:
        """In league with an operator, who credits the member with anything and is convicted for it."""
        self.b.slot, self.b.words, known = self.next_slot(), self.state(), len(self.batches)
        honest, _, facts, _ = self.b.honest([{}])
        state = [*self.state(), *[0] * (MEMBERS - len(self.state()))]
        state[account] = moved(state[account], -asked, 0)
        batch = replace(honest, slots=((state_tree(state).root, row(account, -asked, 0)),))
        self.send(batch, facts, state, right=False, watched=False)
        if len(self.batches) > known:
            self.ask(account, asked, state)
            self.drop(account)
            self.watch()
            if posts:
                self.post_what_members_can_pay([(account, (account + 1) % MEMBERS, 1)])
            self.drop(account)

    @rule(flows=st.lists(st.tuples(accounts, accounts, st.integers(0, 20)), min_size=1, max_size=3))
    def post_what_members_can_pay(self, flows: list[tuple[int, int, int]]) -> None:
        """As an honest operator: nobody buys more than its money for this batch pays."""
        state, slots = self.state(), []
        running = [running_payment(word) for word in [*state, *[0] * (MEMBERS - len(state))]]
        for buyer, seller, wh in flows:
            fits = max(0, min(wh, (self.money[buyer].backing(self.era) - running[buyer]) // PRICE)) if buyer != seller else 0
            slots.append({buyer: fits, seller: -fits} if fits else {})
            running[buyer] += fits * PRICE
            running[seller] -= fits * PRICE
        self.post(slots)

    @rule(flow=st.tuples(accounts, accounts, st.integers(1, 100)), edge=st.booleans())
    def post_whether_or_not_it_can_be_paid(self, flow: tuple[int, int, int], edge: bool) -> None:
        buyer, seller, wh = flow
        if edge:  # the first watt-hour beyond
            paid = running_payment(self.state()[buyer]) if self.state() else 0
            wh = max(1, (self.money[buyer].backing(self.era) - paid) // PRICE + 1)
        self.post([{buyer: wh, seller: -wh} if buyer != seller else {}])

    def post(self, flows: list[dict[int, int]]) -> None:
        self.b.slot, self.b.words = self.next_slot(), self.state()
        batch, after, facts, _ = self.b.honest(flows)
        paid = all(
            payment <= 0 or running_payment(after_step[a]) <= self.money[a].backing(self.era)
            for packed, after_step in self.states(batch)
            for a in range(MEMBERS)
            for payment in (position_of(packed, a)[0],)
        )
        self.send(batch, facts, after, right=paid)

    @rule(
        kinds=st.lists(st.sampled_from(FORGERIES), min_size=1, max_size=4, unique=True),
        flow=st.tuples(accounts, accounts, st.integers(1, 9)),
    )
    def post_forgeries(self, kinds: list[str], flow: tuple[int, int, int]) -> None:
        if flow[0] == flow[1]:
            return
        for by in kinds:
            self.forge(by, *flow)

    def forge(self, by: str, buyer: int, seller: int, wh: int) -> None:
        self.b.slot, self.b.words = self.next_slot(), self.state()
        honest, after, facts, _ = self.b.honest([{buyer: wh, seller: -wh}])
        rows = sorted([(buyer, wh * PRICE, wh), (seller, -wh * PRICE, -wh)])
        forged = {
            "price": [(a, p + (1 if e > 0 else -1), e) for a, p, e in rows],
            "skip": [],
            "balance": [(a, p + (1 if e > 0 else 0), e) for a, p, e in rows],
            "energy": [(a, p, e + (1 if e > 0 else 0)) for a, p, e in rows],
            "order": rows[::-1],
            "state": rows,
            "stranger": [(0, 1, 0), (MEMBERS, -1, 0)],
            "ghost": [*rows, (MEMBERS, 0, 0)],
        }[by]
        packed = b"".join(row(*one) for one in forged)
        state = [*self.state(), *[0] * (MEMBERS - len(self.state()))]
        for account, payment, energy in forged:  # what the rows come to where no rule is asked
            if account < MEMBERS:
                state[account] = moved(state[account], payment, energy)
        root = state_tree([word + 1 for word in state] if by == "state" else state).root
        self.send(replace(honest, slots=((root, packed),)), facts, after, right=False)

    def states(self, batch: Batch) -> list[tuple[bytes, list[int]]]:
        state, found = self.state(), []
        for _, packed in batch.slots:
            _, state = redo(state, MEMBERS, packed)
            found.append((packed, state))
        return found

    def next_slot(self) -> int:
        return self.batches[-1].batch.first_slot + len(self.batches[-1].batch.slots) if self.batches else 0

    def send(self, batch: Batch, facts: list[Fact], after: list[int], *, right: bool, watched: bool = True) -> None:
        if self.bond < BOND:
            assert self.b.post(batch).status == 0
            self.add_bond()
        receipt = self.post_roots(batch) if self.era % 2 else self.b.post(batch)
        accepted = not self.paused and not self.halted and self.bond >= BOND
        assert receipt.status == int(accepted), receipt.refusal
        if not accepted:
            return
        by_key = {(fact.slot, fact.account): fact for fact in facts}
        self.batches.append(Posted(batch, by_key, self.state(), after, self.era, receipt.timestamp, right))
        self.era, self.last_act = self.era + 1, receipt.timestamp
        if not right and watched:
            self.watch()
        elif right and self.era % 3 == 0:
            self.watch()  # of an honest batch nothing can be proved

    def post_roots(self, batch: Batch) -> Receipt:
        """Its data with a quorum of oracles, after a try with too few of them."""
        before = state_tree(self.state()).root
        digest = data_digest(self.b.contract.chain_id, self.b.contract.address, batch, before)
        for count in (2, 3):
            keys = [self.keys.oracle(index) for index in range(count)]
            signatures = join_signatures([(key.address, key.sign_digest(digest)) for key in keys])
            receipt = self.b.send(self.b.operator, "postRoots", *post_roots_arguments(batch, before, signatures))
            assert count > 2 or receipt.status == 0
        return receipt

    @rule(account=accounts, also=accounts, asked=st.integers(1, 3_000))
    def ask_for_what_the_batch_under_way_spends(self, account: int, also: int, asked: int) -> None:
        """A member asks its money back and buys with it in the batch under way: no proof takes that batch back."""
        self.ask(account, min(asked * UNIT, max(0, self.own(account))), self.state())
        known = len(self.batches)
        self.post_what_members_can_pay([(account, also, 20)])
        if len(self.batches) > known:
            self.accuse_of_overdraft(len(self.batches) - 1, account)

    @rule(account=accounts, other=accounts)
    def ask_for_everything_spend_and_be_idle(self, account: int, other: int) -> None:
        """What it owes is then above its collateral, but it pays no more: no proof takes a batch back in which it does not."""
        self.ask(account, max(0, self.own(account)), self.state())
        self.post_what_members_can_pay([(account, other, 3)])
        known = len(self.batches)
        self.post_what_members_can_pay([(other, account, 1)])
        if len(self.batches) > known:
            self.accuse_of_overdraft(len(self.batches) - 1, account)

    def accuse_of_overdraft(self, index: int, account: int) -> None:
        """Of an honest batch: whatever the member held after any of its steps, shown as an overdraft."""
        batch, state = self.batches[index].batch, self.batches[index].before
        steps = batch.steps(state_tree(state).root)
        proofs = steps_tree(steps)
        for step in steps:
            _, state = redo(state, MEMBERS, step.packed)
            shown = (step.as_arguments(), list(proofs.proof(step.index).siblings))
            word, word_proof = state[account], list(state_tree(state).proof(account).siblings)
            receipt = self.b.send(stranger(), "proveOverdraft", index, *shown, account, word, word_proof)
            assert receipt.status == 0, "an honest batch was taken back"

    def add_bond(self) -> None:
        self.b.must(self.b.operator, "addBond", BOND)
        self.bond += BOND

    @rule(seconds=st.sampled_from([60, WINDOW_S, TIMEOUT_S]))
    def wait(self, seconds: int) -> None:
        self.world.now += seconds

    @precondition(lambda self: self.batches)
    @rule(account=accounts, data=st.data(), stale=st.booleans())
    def withdraw(self, account: int, data: st.DataObject, stale: bool) -> None:
        self.take(account, data.draw(st.integers(0, len(self.batches) - 1)), stale=stale)

    @rule(account=accounts, asked=st.integers(1, 3_000), also=accounts, filled=st.booleans())
    def ask_trade_wait_and_take_twice(self, account: int, asked: int, also: int, filled: bool) -> None:
        """The whole way of a withdrawal, too early, against a batch too old, once more; `filled` by another in between."""
        self.post_what_members_can_pay([(also, account, 3)])
        self.ask(account, min(asked * UNIT, max(0, self.own(account))), self.state())
        self.world.now += WINDOW_S
        if self.batches:
            self.take(account, len(self.batches) - 1)
        self.post_what_members_can_pay([(account, also, 3)])
        if filled:
            self.deposit(account, 500, [], many=False)
        if self.batches:
            self.take(account, len(self.batches) - 1)
            self.world.now += WINDOW_S
            self.take(account, len(self.batches) - 1)
            self.take(account, len(self.batches) - 1)

    def take(self, account: int, index: int, *, stale: bool = False) -> None:
        posted, money = self.batches[index], self.money[account]
        state = posted.before if stale and posted.before else posted.after
        word, proof = state[account], list(state_tree(state).proof(account).siblings)
        receipt = self.b.send(self.keys.member(account), "withdraw", index, word, proof)
        known = state_tree(state).root == state_tree(posted.after).root
        lacking = max(0, running_payment(word) - (at(money.paid_in, money.needed) - money.taken_out[-1][1]))
        units = max(0, money.leaving - lacking) // UNIT
        final = receipt.timestamp >= posted.posted_at + WINDOW_S
        accepted = not money.exited and final and posted.era >= money.needed and known and units > 0
        assert receipt.status == int(accepted), receipt.refusal
        if accepted:
            money.release(money.leaving - units * UNIT, self.era)
            money.leaving = 0
            self.out[account] += units

    @rule()
    def toggle_pause(self) -> None:
        self.b.must(self.b.operator, "unpause" if self.paused else "pause")
        self.paused = not self.paused

    @rule()
    def halt(self) -> None:
        receipt = self.b.send(stranger(), "halt")
        accepted = not self.halted and receipt.timestamp >= self.last_act + TIMEOUT_S
        assert receipt.status == int(accepted), receipt.refusal
        self.halted = self.halted or accepted

    @precondition(lambda self: self.halted)
    @rule(account=accounts)
    def exit(self, account: int) -> None:
        money, state = self.money[account], self.state()
        word, proof = (state[account], list(state_tree(state).proof(account).siblings)) if state else (0, [])
        receipt = self.b.send(self.keys.member(account), "exit", word, proof)
        units = (money.whole - running_payment(word)) // UNIT
        assert receipt.status == int(not money.exited and units > 0), receipt.refusal
        if receipt.status:
            money.exited, money.leaving = True, 0
            self.out[account] += units

    @invariant()
    def nobody_lost_a_unit(self) -> None:
        state = self.state() or [0] * MEMBERS
        held = self.world.tokens(self.b.contract.address) * UNIT
        owed = self.bond * UNIT
        for account, money in enumerate(self.money):
            own = money.whole - running_payment(state[account])
            assert money.exited or own >= 0, f"account {account} is {-own} short"
            owed += 0 if money.exited else own
            assert self.b.view("collateralOf", account) == money.now
            assert self.b.view("collateralAt", account, self.era) == money.backing(self.era)
            assert self.world.tokens(self.keys.member(account).address) == self.out[account]
        assert held >= owed
        assert self.b.view("batchCount") == len(self.batches)
        assert self.b.view("lastAct") == self.last_act
        assert self.b.view("stateRoot") == (state_tree(self.state()).root if self.batches else state_tree([]).root)


def test_batches_equal_their_twin() -> None:
    run_machine(BatchMachine, machine_settings(8, 20))


PLANTED = {
    "a balance unchecked": ("SlotSteps", "if (paymentSum != 0) return", "if (paymentSum > 1) return"),
    "an overdraft by a little": ("BatchSettlement", "paymentOf(word) <= collateralAt", "paymentOf(word) <= 200_000 + collateralAt"),
    "a withdrawal twice": (
        "BatchEscrow",
        "        delete leavingOf[account];\n        _release(account, leaving, leaving.amountNano - token",
        "        _release(account, leaving, leaving.amountNano - token",
    ),
    "a nano more than one's own": ("BatchEscrow", "if (int256(amountNano) > ownNano)", "if (int256(amountNano) > ownNano + 1)"),
    "what was paid asked for again": (
        "BatchEscrow",
        "+ int256(uint256(before.amountNano))\n                - _runningPayment(root, members, account, word, proof);",
        "+ int256(uint256(before.amountNano));",
    ),
    "what was asked before forgotten": ("BatchEscrow", "(account) + int256(uint256(before.amountNano))", "(account)"),
    "an older state asked by": (
        "BatchEscrow",
        "        if (!MerkleProof.verifyCalldata(proof, root, SlotSteps.accountLeaf(account, word))) {\n"
        "            revert NotInState(account, word);\n        }\n",
        "",
    ),
    "asked by a wrong batch for ever": (
        "BatchSettlement",
        "(batches <= batchCount && batchOf[batches - 1].era == lastEra);",
        "batches <= batchCount;",
    ),
    "a founded request dropped": ("BatchEscrow", "|| _stands(leaving.batches, leaving.lastEra)) revert", ") revert"),
    "released a batch late": ("BatchEscrow", "if (leaving.era == era) _setTakenOut", "if (leaving.era <= era) _setTakenOut"),
    "freed by what came later": ("BatchEscrow", "_paidIn[account].upperLookupRecent(leaving.era)", "_paidIn[account].latest()"),
    "the idle convicted": ("BatchSettlement", "if (paymentNano <= 0 || ", "if ("),
    "a batch too old": ("BatchEscrow", "if (batchEra < leaving.era) revert", "if (batchEra + 1 < leaving.era) revert"),
    "what is lacking paid out": ("BatchEscrow", "if (lacking > 0) amountNano", "if (lacking > type(int256).max - 1) amountNano"),
    "a request that binds at once": ("BatchEscrow", "_takenOut[account].push(era + 1,", "_takenOut[account].push(era,"),
    "a proof that keeps the batch": ("BatchSettlement", "        batchCount = index;\n", "        batchCount = index + 1;\n"),
    "a penalty to another": ("BatchSettlement", "_credit(penaltyAccount,", "_credit(penaltyAccount + 1,"),
    "one deposit for many": ("BatchEscrow", "total += tokenUnits[i];", "total = tokenUnits[i];"),
    "data nobody answers for": (
        "BatchSettlement",
        "        registry.checkQuorum(dataDigest(firstSlot, slots, stateRoot(), roots), signatures);\n",
        "",
    ),
    "a wrong batch buys time": (
        "BatchSettlement",
        "        lastAct = index == 0 ? _madeAt : batchOf[index - 1].postedAt;\n",
        "",
    ),
    "a batch final at once": ("BatchSettlement", "block.timestamp >= batchOf[index].postedAt + fraudWindow;", "true;"),
}  # fmt: skip
EVERY_TIME = ("an overdraft by a little",)


@pytest.mark.parametrize(
    ("source", "correct", "wrong"),
    [pytest.param(*bug, id=name, marks=() if name in EVERY_TIME else pytest.mark.nightly) for name, bug in PLANTED.items()],
)
def test_a_planted_bug_is_found(source: str, correct: str, wrong: str) -> None:
    hunt = hunting(100, 20)
    with planted("BatchSettlement", correct, wrong, source=source), pytest.raises((AssertionError, BaseExceptionGroup)):
        run_machine(BatchMachine, hunt)
