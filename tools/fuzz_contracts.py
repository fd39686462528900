"""Thousands of sequences of each of the ledger's state machines, in pieces: a piece is one seed in one process, and is remembered.

    python tools/fuzz_contracts.py                        # 10,000 of every machine, two processes, what is missing
    python tools/fuzz_contracts.py settlement pool --sequences 1000 --kept night.jsonl
    python tools/fuzz_contracts.py settlement --seed 3    # one piece again, here, with all that it says

A finished piece is a line of the file `--kept` (JSON): machine, seed, sequences, steps, seconds, what was found, and a hash of each
contract and test file that took part. Started again it does the pieces of which no line tells, or whose parts have changed since.
A piece's sequences depend on its seed alone. Needs `pyrevm`; without it each sequence takes a hundred times as long. Exit 1 where
a piece found something.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

ROOT = Path(__file__).parent.parent
STATEFUL = ROOT / "tests" / "stateful"
ARTIFACTS = "src/walras/ledger/artifacts"
NAMES = {"test_ledger_channels": "channels", "test_ledger_pool": "pool"}


def machines() -> dict[str, Path]:
    """Each machine's name and the test file that has it."""
    files = [*STATEFUL.glob("test_ledger_*_machine.py"), *(STATEFUL / f"{name}.py" for name in NAMES)]
    return {NAMES.get(path.stem, path.stem.removeprefix("test_ledger_").removesuffix("_machine")): path for path in sorted(files)}


def digest(part: str) -> str:
    """Of a file of the repository, "" where it is gone."""
    path = ROOT / part
    return sha256(path.read_bytes()).hexdigest()[:12] if path.exists() else ""


def parts_used(contracts: set[str]) -> dict[str, str]:
    """What a piece was made of: the contracts created in it, and the test files loaded."""
    loaded = [Path(module.__file__) for module in list(sys.modules.values()) if getattr(module, "__file__", None)]
    files = [str(path.relative_to(ROOT)) for path in loaded if path.is_relative_to(ROOT / "tests")]
    files += [f"{ARTIFACTS}/{name}.json" for name in contracts]
    return {part: digest(part) for part in sorted(files) if digest(part)}


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def do_piece(machine: str, seed: int, sequences: int) -> dict[str, Any]:
    """Run it here; raises what the machine found."""
    os.environ |= {"WALRAS_NIGHTLY": "1", "WALRAS_SEQUENCES": str(sequences)}
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]
    import hypothesis

    from ledger_machines import EVM, run_machine
    from walras.ledger.abi import Artifact

    module = importlib.import_module(f"stateful.{machines()[machine].stem}")
    counts, created = {"runs": 0, "steps": 0}, set[str]()

    def counted(tested: Any, how: Any) -> None:
        check, end = tested.check_invariants, tested.teardown

        def stepped(self: Any, *arguments: Any) -> None:
            counts["steps"] += 1
            check(self, *arguments)

        def ended(self: Any) -> None:
            counts["runs"] += 1
            end(self)

        with mock.patch.object(tested, "check_invariants", stepped), mock.patch.object(tested, "teardown", ended):
            run_machine(hypothesis.seed(seed)(tested), hypothesis.settings(how, database=None, derandomize=False))

    make = Artifact.creation

    def creation(self: Artifact, *arguments: Any) -> bytes:
        created.add(self.name)
        return make(self, *arguments)

    started = time.perf_counter()
    with mock.patch.object(module, "run_machine", counted), mock.patch.object(Artifact, "creation", creation):
        for test in tests_of(module):
            test()
    if counts["runs"] < sequences:
        raise AssertionError(f"{machine}: {counts['runs']} sequences instead of {sequences}")
    seconds = round(time.perf_counter() - started, 1)
    return {"evm": EVM, "sequences": sequences, **counts, "seconds": seconds, "parts": parts_used(created)}


def tests_of(module: ModuleType) -> Iterator[Any]:
    """The test functions that run the machine as it is."""
    for name, test in vars(module).items():
        if name.startswith("test_") and "machine_settings" in getattr(getattr(test, "__code__", None), "co_names", ()):
            yield test


def piece_elsewhere(machine: str, seed: int, sequences: int) -> dict[str, Any]:
    """The same in a process of its own; what it found is in the line."""
    started, before = time.perf_counter(), {"machine": machine, "seed": seed, "commit": commit()}
    test = str(machines()[machine].relative_to(ROOT))
    command = [sys.executable, __file__, machine, "--seed", str(seed), "--sequences", str(sequences)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONHASHSEED": "0"})
    if done.returncode == 0:
        return before | json.loads(done.stdout.splitlines()[-1]) | {"found": ""}
    seconds = round(time.perf_counter() - started, 1)
    return before | {"parts": parts_used(set()) | {test: digest(test)}, "seconds": seconds, "found": done.stderr[-6_000:]}


def remembered(kept: Path, machine: str) -> list[dict[str, Any]]:
    """The lines of this machine whose parts are as they are now."""
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    of_machine = [one for one in map(json.loads, lines) if one["machine"] == machine]
    return [one for one in of_machine if all(digest(part) == kept for part, kept in one["parts"].items())]


def night(names: list[str], sequences: int, piece: int, kept: Path, processes: int) -> int:
    """All pieces that are missing, machine after machine; a line for each machine; how many machines have something found."""
    guilty = 0
    with ThreadPoolExecutor(processes) as pool:
        for machine in names:
            done = {one["seed"] for one in remembered(kept, machine)}
            seeds = [seed for seed in range(-(-sequences // piece)) if seed not in done]
            for future in as_completed([pool.submit(piece_elsewhere, machine, seed, piece) for seed in seeds]):
                with kept.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(future.result()) + "\n")
            lines = remembered(kept, machine)
            found = [one for one in lines if one["found"]]
            guilty += bool(found)
            print(
                f"{machine:12} {sum(one.get('sequences', 0) for one in lines):7,} sequences"
                f" {sum(one.get('steps', 0) for one in lines):9,} steps {sum(one['seconds'] for one in lines):8,.0f} s"
                f"  found in seeds: {[one['seed'] for one in found] or 'none'}",
                flush=True,
            )
    return guilty


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("machines", nargs="*", default=list(machines()), metavar="machine")
    parser.add_argument("--sequences", type=int, default=10_000)
    parser.add_argument("--piece", type=int, default=500)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kept", type=Path, default=ROOT / ".tools" / "fuzzed.jsonl")
    parser.add_argument("--seed", type=int)
    told = parser.parse_args()
    if unknown := set(told.machines) - set(machines()):
        parser.error(f"no machine {', '.join(sorted(unknown))}; there are {', '.join(machines())}")
    if told.seed is not None:
        for machine in told.machines:
            print(json.dumps(do_piece(machine, told.seed, min(told.sequences, told.piece))))
        return 0
    told.kept.parent.mkdir(parents=True, exist_ok=True)
    return min(1, night(told.machines, told.sequences, told.piece, told.kept, told.processes))


if __name__ == "__main__":
    sys.exit(main())
