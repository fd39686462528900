"""Zero-knowledge proofs before a contract: true ones hold singly and in a batch, one false fails its batch, none false is sent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ledger_world import CHAINS, SEED, START, chain_of
from proofs_world import LIMIT_SLOTS, days, development_key, golden
from walras.errors import InputError, LedgerError
from walras.ledger import Chain, LedgerKeys, next_sender
from walras.ledger.calls import Contract, create
from walras.ledger.proof_verifier import (
    deploy_verifier,
    is_verifier_of,
    key_bytes,
    proofs_hold,
    record_proofs,
    statements_hash,
)
from walras.ledger.transactions import MAX_TRANSACTION_GAS
from walras.metering.proofs import Proof, Statement, circuit, verifying_key, witness_of
from walras.metering.proofs.bn254 import BASE_FIELD, FIELD_1, add_all, negated_1
from walras.metering.proofs.groth16 import prove_unchecked
from walras.metering.proofs.poseidon import SCALAR_FIELD

KEYS = LedgerKeys(SEED)
BATCH_GAS = 62_000
BELOW = verifying_key("below_limit")


@pytest.fixture(params=CHAINS)
def chain(request: pytest.FixtureRequest) -> Iterator[Chain]:
    with chain_of(request.param) as made:
        yield made


@pytest.fixture
def node() -> Iterator[Chain]:
    """The fast one of the two: a batch of 32 takes seconds in the embedded EVM."""
    with chain_of("anvil") as made:
        yield made


def verifier(chain: Chain, name: str = "below_limit") -> Contract:
    return deploy_verifier(chain, KEYS.admin, verifying_key(name), timestamp=START)


def four() -> list[tuple[Statement, Proof]]:
    return [golden(f"below_limit at {slot}") for slot in LIMIT_SLOTS]


def test_a_true_proof_goes_on_record_and_a_false_one_is_not_sent(chain: Chain) -> None:
    contract = verifier(chain)
    proven = four()[:1]
    statement, proof = proven[0]
    receipt = record_proofs(chain, contract, KEYS.operator, BELOW, proven, timestamp=START)
    assert contract.events(receipt) == [("Proven", {"statements": statements_hash([statement]), "proofs": 1})]
    false = replace(statement, import_limit_wh=statement.public[3] - 1)
    nonce = chain.nonce(KEYS.operator.address)
    with pytest.raises(InputError, match="proof 1: proof"):
        record_proofs(chain, contract, KEYS.operator, BELOW, [*proven, (false, proof)], timestamp=START)
    assert chain.nonce(KEYS.operator.address) == nonce
    assert not proofs_hold(chain, contract, [(false, proof)])
    with pytest.raises(LedgerError, match=r"refused: ProofInvalid\("):
        contract.act(chain, KEYS.operator, "prove", proof.encode(), list(false.public), timestamp=START)


def test_a_prover_with_a_false_witness_is_refused_by_the_contract_alone_and_in_a_batch(node: Chain) -> None:
    """Forced past our own prover and sent straight to the contract: the transaction reverts, and spoils no more than its batch."""
    contract = verifier(node)
    statement, true = golden("below_limit at 50")
    false = replace(statement, import_limit_wh=statement.public[3] - 1)
    found = circuit("below_limit")
    forced = prove_unchecked(found, development_key("below_limit"), witness_of(found, false, [days()[0]]), (1, 2))
    for proven in ([(false, forced)], [(statement, true), (false, forced)]):
        proofs = b"".join(proof.encode() for _, proof in proven)
        inputs = [value for one, _ in proven for value in one.public]
        with pytest.raises(LedgerError, match=r"refused: ProofInvalid\("):
            contract.act(node, KEYS.operator, "prove", proofs, inputs, timestamp=START)


def test_a_point_off_the_curve_burns_no_more_gas_than_a_pairing_may_cost(node: Chain) -> None:
    """A precompile that fails takes all it was given, so it is given a limit: a caller that goes on keeps the rest."""
    contract = verifier(node)
    statement, proof = four()[0]
    off = bytes(31) + b"\1" + bytes(31) + b"\1" + proof.encode()[64:]
    raw = contract.transaction(
        next_sender(node, KEYS.operator), "prove", off, list(statement.public), gas_limit=MAX_TRANSACTION_GAS
    )
    assert node.send(raw, timestamp=START).gas_used < 1_000_000


def test_every_circuit_has_its_contract_and_none_takes_another_circuits_proof(node: Chain) -> None:
    names = ("day_sum", "net_position", "reduction")
    contracts = {name: verifier(node, name) for name in names}
    for name in names:
        statement, proof = golden(name)
        assert proofs_hold(node, contracts[name], [(statement, proof)])
        assert is_verifier_of(node, contracts[name], verifying_key(name))
        assert not is_verifier_of(node, contracts[name], BELOW)
        assert contracts[name].view(node, "inputCount")[0] == len(statement.public)
    with pytest.raises(LedgerError, match="under another key"):
        record_proofs(node, contracts["day_sum"], KEYS.operator, BELOW, four(), timestamp=START)
    assert not proofs_hold(node, verifier(node), [golden("day_sum")])  # five inputs as well


@pytest.mark.parametrize("name", ["day_sum", "below_limit at 50", "net_position", "reduction"])
def test_thirty_two_proofs_cost_at_most_62_000_gas_each(node: Chain, name: str) -> None:
    statement, proof = golden(name)
    contract = verifier(node, statement.circuit)
    arguments = proof.encode() * 32, list(statement.public) * 32
    used = contract.act(node, KEYS.operator, "prove", *arguments, timestamp=START, gas_limit=4_000_000).gas_used
    assert used <= 32 * BATCH_GAS


def test_one_false_proof_anywhere_fails_its_batch(node: Chain) -> None:
    contract = verifier(node)
    proven = four() * 2
    assert proofs_hold(node, contract, proven)
    for row in range(len(proven)):
        statement, proof = proven[row]
        forged = [*proven]
        forged[row] = replace(statement, slot=statement.public[2] - 1 if statement.public[2] else 1), proof
        assert not proofs_hold(node, contract, forged)


def test_two_errors_that_cancel_in_a_plain_sum_do_not_cancel_in_a_batch(node: Chain) -> None:
    """C + D in one proof and C' - D in another: only weights that come after the proofs are fixed tell them from true ones."""
    contract = verifier(node)
    (first, one), (second, two) = four()[:2]
    moved = add_all(FIELD_1, [one.c, two.c], [(1, 2), negated_1((1, 2))])
    pair = [(first, Proof(one.a, one.b, moved[0])), (second, Proof(two.a, two.b, moved[1]))]
    assert not proofs_hold(node, contract, pair)


def test_what_is_no_point_or_no_number_of_the_field_does_not_hold(node: Chain) -> None:
    contract = verifier(node)
    statement, proof = four()[0]
    assert proof.a is not None
    (x, y), inputs = proof.a, list(statement.public)
    for a in ((x, y + 1), (x + BASE_FIELD, y), (0, 0), (x, BASE_FIELD - y)):
        altered = b"".join(value.to_bytes(32, "big") for value in a) + proof.encode()[64:]
        assert not contract.view(node, "verify", altered, inputs)[0]
        assert not contract.view(node, "verify", proof.encode() + altered, inputs * 2)[0]
    for row in range(len(inputs)):
        larger = [*inputs]
        larger[row] += SCALAR_FIELD  # the same number of the field, by another name
        assert not contract.view(node, "verify", proof.encode(), larger)[0]
    assert contract.view(node, "verify", proof.encode(), inputs)[0]


def test_a_call_of_the_wrong_shape_is_refused_by_name(node: Chain) -> None:
    contract = verifier(node)
    statement, proof = four()[0]
    for proofs, inputs, name in (
        (b"", [], "NothingToProve"),
        (proof.encode()[:255], list(statement.public), "NothingToProve"),
        (proof.encode() + b"\0", list(statement.public), "WrongLength"),
        (proof.encode(), list(statement.public)[:-1], "WrongLength"),
        (proof.encode() * 2, list(statement.public), "WrongLength"),
    ):
        with pytest.raises(LedgerError, match=rf"refused: {name}\("):
            contract.view(node, "verify", proofs, inputs)


def test_a_contract_is_made_with_points_only(node: Chain) -> None:
    key = key_bytes(BELOW)
    broken = [b"", key[:-1], key[:448], key[:512], bytes(64) + b"\1" * 64 + key[128:]]
    broken += [key[:at] + (1).to_bytes(32, "big") + key[at + 32 :] for at in (0, 64, 192, 320, 448, 512)]
    for wrong in broken:
        with pytest.raises(LedgerError, match=r"refused: KeyInvalid\("):
            create(node, KEYS.admin, "ProofVerifier", wrong, timestamp=START)
