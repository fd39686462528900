"""Zero-knowledge proofs on chain: a verifier contract a circuit, proofs singly or in batches, none sent that does not hold.

One contract stands for one verifying key. `record_proofs` checks every proof here before it signs anything: a false one costs no
gas and is named; the contract then decides for itself. What it puts on record is the hash of the public inputs, which
anybody computes from the statements (`statements_hash`).
"""

from __future__ import annotations

from collections.abc import Sequence

from walras.errors import Fault, InputError, LedgerError
from walras.ledger._keccak import keccak256
from walras.ledger.calls import Contract, create
from walras.ledger.chain import Chain, Receipt
from walras.ledger.keys import SigningKey
from walras.metering.proofs.bn254 import G1, G2
from walras.metering.proofs.groth16 import Proof, verify, verify_batch
from walras.metering.proofs.keys import VerifyingKey
from walras.metering.proofs.statements import Statement

GAS_FIXED = 350_000
GAS_PER_PROOF = 90_000
MAX_BATCH = 128
"""Proofs in a transaction: below the cap on its gas."""

ProvenStatement = tuple[Statement, Proof]


def key_bytes(key: VerifyingKey) -> bytes:
    """The verifying key as the contract's constructor takes it: 448 bytes, and 64 for 1 and for each public input."""
    fixed = _words_1(key.alpha) + _words_2(key.beta) + _words_2(key.gamma) + _words_2(key.delta)
    return fixed + b"".join(_words_1(point) for point in key.inputs)


def deploy_verifier(chain: Chain, deployer: SigningKey, key: VerifyingKey, *, timestamp: int) -> Contract:
    """The contract that checks proofs under `key`; LedgerError with its refusal where a point is none."""
    return create(chain, deployer, "ProofVerifier", key_bytes(key), timestamp=timestamp)


def is_verifier_of(chain: Chain, contract: Contract, key: VerifyingKey) -> bool:
    """Whether the contract stands for this key and no other: what to look at before its word is taken."""
    return bool(contract.view(chain, "keyHash")[0] == keccak256(key_bytes(key)))


def proofs_hold(chain: Chain, contract: Contract, proven: Sequence[ProvenStatement]) -> bool:
    """The contract's own judgement, read without a transaction."""
    return bool(contract.view(chain, "verify", *_arguments(proven))[0])


def record_proofs(
    chain: Chain,
    contract: Contract,
    sender: SigningKey,
    key: VerifyingKey,
    proven: Sequence[ProvenStatement],
    *,
    timestamp: int,
) -> Receipt:
    """Put on record that all of `proven` hold, in one transaction.

    Checked here first, as one batch: InputError names each proof that does not hold, and nothing is sent; LedgerError where the
    contract stands for another key, or refuses.
    """
    if not 1 <= len(proven) <= MAX_BATCH:
        raise InputError("proofs", [Fault("proofs", "count", len(proven), f"1 to {MAX_BATCH}")])
    if not is_verifier_of(chain, contract, key):
        raise LedgerError(f"the contract at {contract.address} checks proofs under another key", thing=contract.address)
    if not verify_batch(key, [(proof, statement.public) for statement, proof in proven]):
        faults = [
            Fault(f"proof {row}", "proof", statement, "one that holds for its statement")
            for row, (statement, proof) in enumerate(proven)
            if not verify(key, proof, statement.public)
        ]
        raise InputError("proofs", faults, way_out="nothing was sent; prove what is true of the readings")
    gas = GAS_FIXED + GAS_PER_PROOF * len(proven)
    return contract.act(chain, sender, "prove", *_arguments(proven), timestamp=timestamp, gas_limit=gas)


def statements_hash(statements: Sequence[Statement]) -> bytes:
    """Under which hash the contract's `Proven` event records these statements: Keccak-256 of all public inputs in order."""
    return keccak256(b"".join(value.to_bytes(32, "big") for statement in statements for value in statement.public))


def _arguments(proven: Sequence[ProvenStatement]) -> tuple[bytes, list[int]]:
    proofs = b"".join(proof.encode() for _, proof in proven)
    return proofs, [value for statement, _ in proven for value in statement.public]


def _words_1(point: G1) -> bytes:
    return b"".join(value.to_bytes(32, "big") for value in point or (0, 0))


def _words_2(point: G2) -> bytes:
    (x0, x1), (y0, y1) = point or ((0, 0), (0, 0))
    return b"".join(value.to_bytes(32, "big") for value in (x1, x0, y1, y0))
