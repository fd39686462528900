"""Every way by which money leaves a contract: a payee that calls back, a payee whom the currency refuses, dust.

The payee is the hostile currency itself, a member like any other, so that a call from within its own payment comes from whom the
money belongs to. Into which functions it gets on the way in is told in `test_ledger_entry_points`; of those that are guarded
each is attacked here or there, from within its own call.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from eth_utils.address import to_checksum_address

from e2e.test_ledger_adversaries import Siege, hostile_code
from edges.test_ledger_adversaries import ANYBODY, HONEST, Bazaar, bazaar  # noqa: F401 - bazaar is a fixture
from edges.test_ledger_entry_points import INSIDE, KINDS, OPENINGS, functions, kind_of, sample
from ledger_rights import salted
from ledger_world import chain_of, pair, stranger
from walras.errors import LedgerError
from walras.ledger import (
    EmbeddedChain,
    Header,
    artifact,
    attestation_digest,
    join_signatures,
    net_positions,
    pack_positions,
    sign_attestation,
)
from walras.ledger.abi import read_revert
from walras.ledger.batches import attest_facts, find_fraud, make_batch, post_arguments
from walras.ledger.calls import Contract, create
from walras.ledger.disputes import device_id
from walras.ledger.keys import SigningKey
from walras.ledger.leaf_proofs import shown_leaf
from walras.ledger.quotes import Right
from walras.ledger.steps import Fact, facts_tree, state_tree
from walras.metering.merkle import tree_over
from walras.metering.slot_readings import encode_substitute

UNITS, NANO_PER_UNIT = 400, 1_000  # the hostile currency has six decimals
DELAY_S = 1_000
ACCOUNT = 0  # the currency's own


@dataclass
class Exit:
    """A call that pays `units` to the hostile currency, which makes it itself unless `by` says who does."""

    siege: Siege
    target: Contract
    function: str
    arguments: tuple[object, ...]
    units: int
    by: SigningKey | None = None

    def take(self) -> None:
        if self.by is None:
            self.siege.as_token(self.target, self.function, *self.arguments)
        else:
            self.siege.do(self.target, self.by, self.function, *self.arguments)

    def held(self) -> int:
        return int(self.siege.look("balanceOf", self.target.address))  # type: ignore[call-overload]


def made(siege: Siege, name: str, *arguments: object) -> Contract:
    """A contract to which the currency and member 1 have approved all they have, which is enough."""
    contract = create(siege.chain, siege.keys.admin, name, *arguments, timestamp=siege.now)
    siege.hostile("mint", siege.token, 10**6)
    siege.hostile("doCall", siege.token, hostile_code().call("approve", contract.address, 10**9))
    return contract


def wait(siege: Siege, seconds: int) -> None:
    """So long and a minute from the newest block, which on a node comes a second after the one before."""
    siege.now = max(siege.now, siege.chain.head().timestamp) + seconds + 60


def settled_on(siege: Siege) -> Contract:
    """A settlement with money of the currency's on account 0."""
    contract = made(siege, "Settlement", siege.token, siege.registry.address, DELAY_S, 4)
    siege.as_token(contract, "depositMany", [0, 1], [UNITS, UNITS])
    return contract


def withdrawal(siege: Siege) -> Exit:
    contract = settled_on(siege)
    siege.as_token(contract, "requestWithdrawal", UNITS * NANO_PER_UNIT)
    wait(siege, DELAY_S)
    return Exit(siege, contract, "withdraw", (), UNITS)


def closed_channel(siege: Siege) -> Exit:
    contract = made(siege, "PaymentChannels", siege.token)
    siege.as_token(contract, "open", siege.keys.member(1).address, DELAY_S, UNITS)
    siege.as_token(contract, "closeUnused", 1)
    wait(siege, DELAY_S)
    siege.do(contract, stranger_of(siege), "finish", 1)
    return Exit(siege, contract, "collect", (), UNITS)


def stranger_of(siege: Siege) -> SigningKey:
    return siege.keys.member(2)


def oracle_bond(siege: Siege, treasury: str) -> Contract:
    settlement = settled_on(siege)
    return made(siege, "OracleBond", settlement.address, ANYBODY, treasury, 100, DELAY_S, 1_000)


def left_stake(siege: Siege) -> Exit:
    contract = oracle_bond(siege, stranger().address)
    siege.as_token(contract, "bond", siege.token, UNITS)
    siege.as_token(contract, "requestLeave")
    wait(siege, DELAY_S)
    return Exit(siege, contract, "withdrawStake", (), UNITS)


def two_words(siege: Siege, contract: Contract) -> tuple[object, ...]:
    """What oracle 0 signed: two roots for one slot."""
    siege.as_token(contract, "bond", siege.keys.oracle(0).address, UNITS)
    settlement = contract.view(siege.chain, "settlement")[0]
    roots = [bytes([root]) * 32 for root in (1, 2)]
    words = [siege.keys.oracle(0).sign_digest(attestation_digest(siege.chain.chain_id, settlement, 7, root)) for root in roots]
    return 7, roots[0], words[0], roots[1], words[1]


def reward(siege: Siege) -> Exit:
    contract = oracle_bond(siege, stranger().address)
    return Exit(siege, contract, "slash", two_words(siege, contract), UNITS // 10)


def treasury(siege: Siege) -> Exit:
    contract = oracle_bond(siege, siege.token)
    words = two_words(siege, contract)
    siege.hostile("refuse", siege.token, True)  # a treasury whom the token refuses saves no oracle
    siege.do(contract, stranger_of(siege), "slash", *words)
    siege.hostile("refuse", siege.token, False)
    return Exit(siege, contract, "payTreasury", (), UNITS - UNITS // 10, stranger_of(siege))


def disputes(siege: Siege) -> Contract:
    """The currency's meter and member 1's are known; the operator has a bond."""
    settlement, admin = settled_on(siege), siege.keys.admin
    devices = create(siege.chain, admin, "DeviceRegistry", siege.registry.address, timestamp=siege.now)
    siege.do(devices, admin, "setMeterOperator", admin.address, True)
    for account in (0, 1):
        siege.do(devices, admin, "enter", device_id(bytes([1 + account]) * 16), account, bytes(32), 0, 2**63)
    contract = made(siege, "Disputes", settlement.address, devices.address, DELAY_S, UNITS)
    siege.as_token(contract, "addBond", UNITS)
    return contract


def opened(siege: Siege, contract: Contract) -> None:
    """Settle a slot wrongly, and dispute it in the name of account 0."""
    address = to_checksum_address(contract.view(siege.chain, "settlement")[0])
    settlement = Contract("Settlement", siege.chain.chain_id, address)
    leaves = [salted(encode_substitute(bytes([1 + account]) * 16, 0, 0, 5, 18)) for account in (0, 1)]
    tree, rows = tree_over(leaves), pack_positions(pair(0, 1, 0, 700))
    roots = Header(tree.root, bytes(32), bytes(32))
    oracles = [siege.keys.oracle(index) for index in range(3)]
    signed = [sign_attestation(key, siege.chain.chain_id, settlement.address, 0, tree.root) for key in oracles]
    header = (roots.readings_root, roots.trades_root, roots.journal_head)
    siege.do(settlement, siege.keys.admin, "settleSlot", 0, header, rows, join_signatures(signed))
    shown = shown_leaf(leaves[ACCOUNT], tree.proof(ACCOUNT)).as_arguments()
    siege.as_token(contract, "open", 0, [header], [rows], [shown])


def penalty(siege: Siege) -> Exit:
    contract = disputes(siege)
    opened(siege, contract)
    wait(siege, DELAY_S)
    siege.hostile("refuse", siege.token, True)  # the penalty is its own even so, and the dispute is over
    siege.do(contract, stranger_of(siege), "punish", 0, ACCOUNT)
    siege.hostile("refuse", siege.token, False)
    assert contract.view(siege.chain, "openDisputes")[0] == 0
    return Exit(siege, contract, "collect", (), UNITS)


def operators_bond(siege: Siege) -> Exit:
    contract = disputes(siege)
    siege.do(siege.registry, siege.keys.admin, "grantRole", siege.registry.view(siege.chain, "OPERATOR_ROLE")[0], siege.token)
    siege.as_token(contract, "announceWithdrawal")
    wait(siege, 2 * DELAY_S)
    return Exit(siege, contract, "withdrawBond", (), UNITS)


def batches_of(siege: Siege) -> Contract:
    """The currency is a member with money, and the operator with a bond."""
    contract = made(siege, "BatchSettlement", siege.token, siege.registry.address, (DELAY_S, 2 * DELAY_S), 10, 1, 0)
    siege.do(siege.registry, siege.keys.admin, "grantRole", siege.registry.view(siege.chain, "OPERATOR_ROLE")[0], siege.token)
    siege.as_token(contract, "deposit", ACCOUNT, UNITS)
    return contract


def fact(account: int, other_nano: int) -> Fact:
    return Fact(0, account, 0, 0, 0, 0, 0, 0, 0, 0, other_nano)


def posted(siege: Siege, contract: Contract, pays: int, attested: int, *, lie: bool = False) -> tuple[str, tuple[object, ...]]:
    """A batch of one slot in which account 0 pays so many nano, where so many were attested; the proof against it."""
    siege.as_token(contract, "addBond", 2 * UNITS)
    facts = {(0, account): fact(account, other) for account, other in ((0, attested), (1, -attested))}
    tree = facts_tree(list(facts.values()))
    rows = net_positions([0, 1], [pays, -pays], [0, 0])
    batch, _ = make_batch([], 2, 0, [rows], tree.root, bytes(32))
    if lie:
        batch = replace(batch, slots=((bytes([7]) * 32, batch.slots[0][1]),))
    signatures = attest_facts(contract, batch, [siege.keys.oracle(index) for index in range(3)])
    siege.as_token(contract, "post", *post_arguments(batch, signatures))
    backing = {0: UNITS * NANO_PER_UNIT, 1: 0}
    fraud = find_fraud(batch, [], 2, facts, tree, backing.__getitem__)
    return (fraud.function, (0, *fraud.arguments)) if fraud else ("", ())


def proof_of(pays: int, attested: int, *, lie: bool = False) -> Callable[[Siege], Exit]:
    def proved(siege: Siege) -> Exit:
        contract = batches_of(siege)
        function, arguments = posted(siege, contract, pays, attested, lie=lie)
        return Exit(siege, contract, function, arguments, UNITS)

    return proved


def batch_withdrawal(siege: Siege) -> Exit:
    contract = batches_of(siege)
    siege.as_token(contract, "requestWithdrawal", UNITS * NANO_PER_UNIT, 0, [])
    assert posted(siege, contract, 0, 0) == ("", ())
    wait(siege, DELAY_S)
    in_the_state = list(state_tree([0, 0]).proof(ACCOUNT).siblings)
    return Exit(siege, contract, "withdraw", (0, 0, in_the_state), UNITS)


def batch_bond(siege: Siege) -> Exit:
    contract = batches_of(siege)
    siege.as_token(contract, "addBond", UNITS)
    return Exit(siege, contract, "withdrawBond", (), UNITS)


def forced_exit(siege: Siege) -> Exit:
    contract = batches_of(siege)
    wait(siege, 2 * DELAY_S)
    siege.do(contract, stranger_of(siege), "halt")
    return Exit(siege, contract, "exit", (0, []), UNITS)


def auction_money(siege: Siege) -> Exit:
    contract = made(siege, "SealedAuction", siege.token, siege.registry.address, siege.keys.admin.address, 5, 1, 2)
    siege.as_token(contract, "payIn", UNITS)
    return Exit(siege, contract, "payOut", (), UNITS)


def pool_money(siege: Siege) -> Exit:
    contract = made(siege, "EnergyPool", siege.token, siege.registry.address, 1, 3_000)
    siege.as_token(contract, "payIn", UNITS)
    return Exit(siege, contract, "payOut", (), UNITS)


def flexibility_credit(siege: Siege) -> Exit:
    contract = made(siege, "FlexibilityBond", settled_on(siege).address)
    terms = (siege.token, 5, 1, NANO_PER_UNIT, UNITS, 50, siege.now + DELAY_S, siege.now + DELAY_S, bytes(32))
    siege.as_token(contract, "offer", terms)
    siege.as_token(contract, "withdrawOffer", 1)
    return Exit(siege, contract, "collect", (), UNITS)


EXITS: dict[str, Callable[[Siege], Exit]] = {
    "Settlement.withdraw": withdrawal,
    "PaymentChannels.collect": closed_channel,
    "OracleBond.withdrawStake": left_stake,
    "OracleBond.slash": reward,
    "OracleBond.payTreasury": treasury,
    "Disputes.collect": penalty,
    "Disputes.withdrawBond": operators_bond,
    "BatchSettlement.withdraw": batch_withdrawal,
    "BatchSettlement.withdrawBond": batch_bond,
    "BatchSettlement.exit": forced_exit,
    "BatchSettlement.proveWrongStep": proof_of(0, 0, lie=True),
    "BatchSettlement.proveWrongPosition": proof_of(5, 0),
    "BatchSettlement.proveOverdraft": proof_of(10**6, 10**6),
    "SealedAuction.payOut": auction_money,
    "EnergyPool.payOut": pool_money,
    "FlexibilityBond.collect": flexibility_credit,
}
SAME_PAYMENT = {f"OracleBond.{name}": "OracleBond.slash" for name in (
    "slashBatch", "slashCorrection", "slashForged", "slashMeterTwice", "slashWrongSlot"
)}  # fmt: skip
"""They end in the very function in which `slash` ends."""
NO_PAYMENT = {
    "Disputes.punish": "makes a credit; the exits above punish a member whom the currency refuses",
    "Disputes.resolve": "calls the settlement, which calls the registry",
    "EnergyPool.burnForMoney": "makes a credit",
}
OWN_POWER = {
    "BatchSettlement.pause": "the payee is the operator here",
    "Disputes.announceWithdrawal": "the payee is the operator here",
}
INTO: dict[str, str] = {
    "BatchSettlement.depositMany": "as deposit",
    "BatchSettlement.addBond": "as deposit",
    "FlexibilityBond.accept": "as offer",
    "PaymentChannels.fund": "is what open ends in",
}
"""Ways in that take money by the same function as the opening of `test_ledger_entry_points` does."""


def test_every_guarded_function_is_attacked_from_within_its_own_call() -> None:
    openings = {f"{contract}.{function}" for contract, (function, _) in OPENINGS.items()}
    attacked = openings | set(EXITS) | set(SAME_PAYMENT) | set(NO_PAYMENT) | set(INTO) | set(MOVES)
    guarded = {f"{one}.{name}" for one, kinds in KINDS.items() for name in kinds.get("guarded", "").split()}
    assert guarded == attacked - {"PaymentChannels.open"}


MOVES: dict[str, Callable[[Right], tuple[object, ...]]] = {  # in an order in which one after the other can be done
    "EnergyPool.open": lambda _: (1_000, 10**6),
    "EnergyPool.mint": lambda _: (10,),
    "EnergyPool.sell": lambda _: (100, 0),
    "EnergyPool.buy": lambda _: (50, 10**9),
    "EnergyPool.burn": lambda _: (5_000,),
    "RightsMarket.offer": lambda right: (right.as_arguments(), 10, 5),
    "RightsMarket.takeBack": lambda _: (1,),
}


def test_a_right_that_calls_back_while_it_moves_gets_into_nothing_that_is_guarded(bazaar: Bazaar) -> None:  # noqa: F811
    world, member = bazaar.world, bazaar.world.keys.member(1)
    bazaar.behave(HONEST)
    bazaar.act(bazaar.pool, member, "payIn", 10**6)
    right = Right(bazaar.right.address, 1)
    for name, arguments in MOVES.items():
        contract = bazaar.pool if name.startswith("EnergyPool") else bazaar.market
        function = name.partition(".")[2]
        data = artifact(contract.name).call(function, *arguments(right))
        bazaar.right.act(world.chain, member, "behave", True, contract.address, data, timestamp=world.now)
        bazaar.act(contract, member, function, *arguments(right))
        assert bazaar.called_back(bazaar.right), name
        assert bytes(bazaar.right.view(world.chain, "answer")[0])[:4] == guard(), name
    bazaar.right.act(world.chain, member, "behave", True, ANYBODY, b"", timestamp=world.now)


def guard() -> bytes:
    """What the guard against entering twice says."""
    return next(key for key, error in artifact("Settlement").errors.items() if error.name == "ReentrancyGuardReentrantCall")


@pytest.fixture(scope="module")
def field() -> Iterator[Siege]:
    with chain_of("embedded") as chain:
        yield Siege(chain)


def once_more(way_out: Exit) -> Exit:
    """The same in a place of its own: a copy of the embedded chain, or other contracts on the node."""
    if isinstance(way_out.siege.chain, EmbeddedChain):
        return copy.deepcopy(way_out)
    return EXITS[f"{way_out.target.name}.{way_out.function}"](way_out.siege)


@pytest.fixture(params=EXITS)
def way_out(request: pytest.FixtureRequest, field: Siege) -> Exit:
    apart = copy.deepcopy(field) if isinstance(field.chain, EmbeddedChain) else field
    return EXITS[request.param](apart)


def test_a_payee_that_calls_back_gets_into_no_function_and_is_paid_once(way_out: Exit) -> None:
    name = way_out.target.name
    for function in sorted(functions(name)):
        if kind_of(name, function) == "standard":
            continue
        one = once_more(way_out)
        siege, inputs = one.siege, artifact(name).functions[function].inputs
        again = one.arguments if function == one.function else [sample(kind, 0) for kind in inputs]
        siege.armed(one.target, function, *again)
        before = one.held()
        one.take()
        assert siege.look("tried")
        answer = bytes(siege.look("answer"))  # type: ignore[call-overload]
        if kind_of(name, function) == "guarded":
            assert answer[:4] == guard(), f"{name}.{function} answered {read_revert(answer)}"
        harmless = f"{name}.{function}" in INSIDE | OWN_POWER
        assert not siege.look("gotThrough") or harmless, f"{name}.{function} lets the payee in while it is paid"
        assert before - one.held() == one.units
        siege.hostile("arm", ANYBODY, b"", 0)


def test_a_payee_whom_the_currency_refuses_loses_nothing_and_is_paid_later(way_out: Exit) -> None:
    way_out.siege.hostile("refuse", way_out.siege.token, True)
    before = way_out.held()
    with pytest.raises(LedgerError, match=r"refused: (Refused|UnknownRevert)"):
        way_out.take()
    assert way_out.held() == before
    way_out.siege.hostile("refuse", way_out.siege.token, False)
    way_out.take()
    assert before - way_out.held() == way_out.units


def test_what_was_paid_is_not_paid_again(way_out: Exit) -> None:
    way_out.take()
    before = way_out.held()
    if way_out.function in ("payOut", "collect") and way_out.target.name in ("PaymentChannels", "SealedAuction"):
        way_out.take()  # pays nothing, and says so
    else:
        with pytest.raises(LedgerError, match="refused: "):
            way_out.take()
    assert way_out.held() == before


def test_below_a_token_unit_nothing_leaves_and_nothing_is_lost(field: Siege) -> None:
    siege = field
    settlement, batches = settled_on(siege), batches_of(siege)
    for contract, arguments in ((settlement, ()), (batches, (0, 0, list(state_tree([0, 0]).proof(ACCOUNT).siblings)))):
        proof = (0, []) if contract is batches else ()
        siege.as_token(contract, "requestWithdrawal", NANO_PER_UNIT - 1, *proof)
        if contract is batches:
            assert posted(siege, batches, 0, 0) == ("", ())
        wait(siege, DELAY_S)
        with pytest.raises(LedgerError, match=r"NothingToWithdraw\("):
            siege.as_token(contract, "withdraw", *arguments)
    assert settlement.view(siege.chain, "accountAt", ACCOUNT)[0] == UNITS * NANO_PER_UNIT
    bond = oracle_bond(siege, siege.token)
    siege.as_token(bond, "bond", siege.keys.oracle(0).address, 1)
    settled = bond.view(siege.chain, "settlement")[0]
    roots = [bytes([root]) * 32 for root in (1, 2)]
    words = [siege.keys.oracle(0).sign_digest(attestation_digest(siege.chain.chain_id, settled, 7, root)) for root in roots]
    siege.do(bond, stranger_of(siege), "slash", 7, roots[0], words[0], roots[1], words[1])
    assert bond.view(siege.chain, "treasuryDue")[0] == 1  # of a single unit no part is the reporter's
