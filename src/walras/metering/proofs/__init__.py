"""Zero-knowledge proofs about meter data: what a member can prove of a day's readings without showing one of them.

A `Day` is committed to by one number that the meter signs beside its Merkle root. Four statements can be proven of it: `DaySum`,
`BelowLimit`, `NetPosition`, `Reduction`. `prove` makes a proof of 256 bytes and refuses what is false; `verify` and
`verify_batch` check; `ledger.proof_verifier` has a contract check. The keys shipped are of a DEVELOPMENT ceremony
(`manifest().ceremony`): everybody can forge proofs under them until a real one replaces them.
"""

from walras.metering.proofs.circuits import (
    CIRCUITS,
    Manifest,
    circuit,
    development_proving_key,
    manifest,
    proving_key,
    r1cs_of,
    verifying_key,
)
from walras.metering.proofs.day import (
    DAY_SLOTS,
    MAX_WH,
    Day,
    DayStatement,
    baseline_context,
    context_of,
    day_agrees,
    day_is_signed,
    day_of_payloads,
    make_day,
    sign_day,
)
from walras.metering.proofs.groth16 import Proof, decode_proof, prove, verify, verify_batch
from walras.metering.proofs.keys import ProvingKey, VerifyingKey
from walras.metering.proofs.r1cs import Circuit, violations
from walras.metering.proofs.statements import (
    BelowLimit,
    DaySum,
    NetPosition,
    Reduction,
    Statement,
    day_sum,
    net_position,
    statement_from,
    statement_record,
)
from walras.metering.proofs.witness import witness_of

__all__ = [
    "CIRCUITS",
    "DAY_SLOTS",
    "MAX_WH",
    "BelowLimit",
    "Circuit",
    "Day",
    "DayStatement",
    "DaySum",
    "Manifest",
    "NetPosition",
    "Proof",
    "ProvingKey",
    "Reduction",
    "Statement",
    "VerifyingKey",
    "baseline_context",
    "circuit",
    "context_of",
    "day_agrees",
    "day_is_signed",
    "day_of_payloads",
    "day_sum",
    "decode_proof",
    "development_proving_key",
    "make_day",
    "manifest",
    "net_position",
    "prove",
    "proving_key",
    "r1cs_of",
    "sign_day",
    "statement_from",
    "statement_record",
    "verify",
    "verify_batch",
    "verifying_key",
    "violations",
    "witness_of",
]
