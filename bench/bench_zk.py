"""Zero-knowledge proofs: gas of a check on a real node, alone and in batches; times of proving and checking beside snarkjs.

Gas does not depend on the machine. Times are ratios to snarkjs on the same witness and the same key in the same run, both as
programs with their start; it and the node come with `npm ci`.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.harness import Result, at_least, at_most, side_by_side

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from ledger_world import ROOT, SEED, START, chain_of
from proofs_world import cases, golden
from walras.ledger import LedgerKeys
from walras.ledger.proof_verifier import deploy_verifier
from walras.metering.proofs import circuit, verify, verify_batch, verifying_key, witness_of
from walras.metering.proofs.keys import key_as_json
from walras.metering.proofs.r1cs import witness_file
from walras.service.prover import available_engines, key_file, make_development_keys, prove_apart

CASES = ("day_sum", "below_limit at 50", "net_position", "reduction")
BATCH = 32
GAS_GOAL = 62_000
ROUNDS = 3


def gas() -> list[Result]:
    """Whole transactions (intrinsic, calldata, execution, event): one proof, and 32 in one."""
    found: list[Result] = []
    keys = LedgerKeys(SEED)
    with chain_of("anvil") as chain:
        for name in CASES:
            statement, proof = golden(name)
            contract = deploy_verifier(chain, keys.admin, verifying_key(statement.circuit), timestamp=START)

            def used(count: int) -> int:
                arguments = proof.encode() * count, list(statement.public) * count  # noqa: B023 - called in this round
                receipt = contract.act(  # noqa: B023
                    chain, keys.operator, "prove", *arguments, timestamp=START, gas_limit=500_000 + 90_000 * count
                )
                return receipt.gas_used

            single, batch = used(1), used(BATCH) / BATCH
            detail = f"{batch:.0f} gas each of {BATCH}, {single} alone; {used(8) / 8:.0f} each of 8"
            found.append(at_most(f"zk: gas of a {statement.circuit} proof among {BATCH}, over 62,000", batch / GAS_GOAL, 1, detail))
            found.append(at_least(f"zk: gas of a {statement.circuit} proof alone over among {BATCH}", single / batch, 4, detail))
    return found


def proving() -> list[Result]:
    """A day's proof from readings to checked proof, by each engine, against snarkjs' `groth16 prove` on the finished witness."""
    statement, openings = cases()["day_sum"]
    found: list[Result] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        started = time.process_time()
        make_development_keys(place, ["day_sum"])
        setup = time.process_time() - started
        key = key_file(place, "day_sum")
        (place / "w.wtns").write_bytes(witness_file(witness_of(circuit("day_sum"), statement, openings)))
        cli = str(ROOT / "node_modules/snarkjs/build/cli.cjs")

        def theirs() -> None:
            command = ["node", cli, "groth16", "prove", str(key), "w.wtns", "proof.json", "public.json"]
            subprocess.run(command, cwd=place, check=True, capture_output=True)

        goals = {"groth16py": 1.5, "python": 15}
        for engine in available_engines():
            ours, yardstick = side_by_side(
                lambda: prove_apart(statement, openings, place, engine=engine),  # noqa: B023
                theirs,
                ROUNDS,
            )
            version = f" {importlib.metadata.version(engine)}" if engine != "python" else ""
            detail = f"{ours:.2f} s by {engine}{version} with witness, start and check; snarkjs {yardstick:.2f} s"
            detail += f"; its key {setup:.1f} s CPU, once"
            found.append(at_most(f"zk: a day proven by {engine}, over snarkjs", ours / yardstick, goals[engine], detail))
    return found


def checking() -> list[Result]:
    """One proof in the process against snarkjs with its start; eight as a batch against eight one by one."""
    statement, proof = golden("day_sum")
    key = verifying_key("day_sum")
    assert proof.a is not None
    assert proof.b is not None
    assert proof.c is not None
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "vk.json").write_text(key_as_json(key), encoding="utf-8")
        (place / "public.json").write_text(json.dumps([str(value) for value in statement.public]), encoding="utf-8")
        b = [[str(part) for part in coordinate] for coordinate in proof.b]
        points = {"pi_a": [*map(str, proof.a), "1"], "pi_b": [*b, ["1", "0"]], "pi_c": [*map(str, proof.c), "1"]}
        (place / "proof.json").write_text(json.dumps({**points, "protocol": "groth16", "curve": "bn128"}), encoding="utf-8")
        cli = str(ROOT / "node_modules/snarkjs/build/cli.cjs")

        def theirs() -> None:
            command = ["node", cli, "groth16", "verify", "vk.json", "public.json", "proof.json"]
            subprocess.run(command, cwd=place, check=True, capture_output=True)

        one, yardstick = side_by_side(lambda: verify(key, proof, statement.public), theirs, ROUNDS)
    batch, singly = side_by_side(
        lambda: verify_batch(key, [(proof, statement.public)] * 8),
        lambda: [verify(key, proof, statement.public) for _ in range(8)],
        ROUNDS,
    )
    return [
        at_most("zk: a proof checked in the process, over snarkjs", one / yardstick, 3, f"{one:.2f} s, snarkjs {yardstick:.2f} s"),
        at_most("zk: eight proofs checked as a batch, over one by one", batch / singly, 0.7, f"{batch:.2f} s, {singly:.2f} s"),
    ]


def results() -> list[Result]:
    """Every claim about proofs. Node, the EVM node and snarkjs are needed: `npm ci`."""
    return [*gas(), *proving(), *checking()]
