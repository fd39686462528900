"""Thousands of sequences of each of the ledger's state machines, in pieces: a piece is one seed in one process, and is remembered.

    python tools/fuzz_contracts.py                        # 10,000 of every machine, two processes, what is missing
    python tools/fuzz_contracts.py settlement pool --sequences 1000 --kept night.jsonl
    python tools/fuzz_contracts.py settlement --seeds 3   # one piece again, here, with all that it says

A finished piece is a line of the file `--kept` (JSON): machine, seed, sequences, checks, seconds, what was found, and a hash of
the machine and of the code of each contract that took part. Started again it does the pieces of which no line tells, or whose
parts have changed since. A piece's sequences depend on its seed alone. Needs `pyrevm`; without it each sequence takes a hundred
times as long. Exit 1 where a piece found something or is missing.
"""

from __future__ import annotations

import argparse
import ast
import gc
import importlib
import json
import os
import re
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

ROOT = Path(__file__).parent.parent
STATEFUL = ROOT / "tests" / "stateful"
ARTIFACTS = "src/walras/ledger/artifacts"
OF_TESTS = re.compile(r"(@.*\n)*def test_|PLANTED|EVERY_TIME")
NAMES = {"test_ledger_channels": "channels", "test_ledger_pool": "pool"}


def machines() -> dict[str, Path]:
    """Each machine's name and the test file that has it."""
    files = [*STATEFUL.glob("test_ledger_*_machine.py"), *(STATEFUL / f"{name}.py" for name in NAMES)]
    return {NAMES.get(path.stem, path.stem.removeprefix("test_ledger_").removesuffix("_machine")): path for path in sorted(files)}


def digest(part: str) -> str:
    """Of an artifact its bytecode, of a machine's file all but its tests; "" where it is gone."""
    path = ROOT / part
    if not path.exists():
        return ""
    text = path.read_text(encoding="utf-8")
    if part.startswith(ARTIFACTS):
        counts = json.loads(text)["bytecode"]
    else:
        parts = map(ast.unparse, ast.parse(text).body)
        counts = "\n".join(one for one in parts if not OF_TESTS.match(one))
    return sha256(counts.encode()).hexdigest()[:12]


def parts_used(machine: str, contracts: set[str]) -> dict[str, str]:
    """What a piece was made of: the machine's file and the contracts created in it."""
    files = [str(machines()[machine].relative_to(ROOT)), *(f"{ARTIFACTS}/{name}.json" for name in contracts)]
    return {part: digest(part) for part in sorted(files) if digest(part)}


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def do_pieces(machine: str, seeds: list[int], sequences: int) -> Iterator[dict[str, Any]]:
    """Run them here, one after the other: a line for each. What a machine raises is in its line, and on stderr."""
    os.environ["WALRAS_NIGHTLY"] = "1"
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "src")]
    import hypothesis

    from ledger_machines import EVM, run_machine
    from walras.ledger.abi import Artifact

    module = importlib.import_module(f"stateful.{machines()[machine].stem}")
    created, counts, make = set[str](), Counter[str](), Artifact.creation

    def creation(self: Artifact, *arguments: Any) -> bytes:
        created.add(self.name)
        return make(self, *arguments)

    def run_counted(tested: Any, how: Any) -> None:
        check, end = tested.check_invariants, tested.teardown

        def checked(self: Any, *arguments: Any) -> None:
            counts["checks"] += 1
            check(self, *arguments)

        def ended(self: Any) -> None:
            counts["runs"] += 1
            end(self)

        with mock.patch.object(tested, "check_invariants", checked), mock.patch.object(tested, "teardown", ended):
            settings = hypothesis.settings(how, max_examples=sequences, database=None, derandomize=False)
            run_machine(hypothesis.seed(seed)(tested), settings)

    gc.freeze()
    gc.set_threshold(100_000)  # what Hypothesis makes is long-lived: looking through it often finds nothing
    with mock.patch.object(module, "run_machine", run_counted), mock.patch.object(Artifact, "creation", creation):
        for seed in seeds:
            counts.clear()
            started, found = time.perf_counter(), ""
            try:
                for test in tests_of(module):
                    test()
            except Exception:  # whatever it is: it goes into the line, and the night goes on
                found = traceback.format_exc()
                print(found, file=sys.stderr)
            told = {"machine": machine, "seed": seed, "commit": commit(), "evm": EVM, "sequences": 0 if found else sequences}
            more = {
                "seconds": round(time.perf_counter() - started, 1),
                "found": found[-6_000:],
                "parts": parts_used(machine, created),
            }
            if not found and counts["runs"] < sequences:
                raise SystemExit(f"{machine}: {counts['runs']} sequences instead of {sequences}")
            yield told | counts | more


def tests_of(module: ModuleType) -> Iterator[Any]:
    """The test functions that run the machine as it is."""
    for name, test in vars(module).items():
        if name.startswith("test_") and "machine_settings" in getattr(getattr(test, "__code__", None), "co_names", ()):
            yield test


def pieces_elsewhere(machine: str, seeds: list[int], sequences: int, keep: Callable[[str], None]) -> None:
    """The same in a process of its own; each line goes to `keep` as it comes."""
    command = [sys.executable, __file__, machine, "--piece", str(sequences), "--seeds", *map(str, seeds)]
    fixed = os.environ | {"PYTHONHASHSEED": "0"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=fixed) as process:
        for line in process.stdout or ():
            if line.startswith("{"):
                keep(line)


def remembered(kept: Path, machine: str) -> list[dict[str, Any]]:
    """The lines of this machine whose parts are as they are now."""
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    of_machine = [one for one in map(json.loads, lines) if one["machine"] == machine]
    return [one for one in of_machine if all(digest(part) == kept for part, kept in one["parts"].items())]


def night(names: list[str], sequences: int, piece: int, kept: Path, processes: int) -> bool:
    """All pieces that are missing, machine after machine, with a line for each machine; whether all were done and nothing found."""
    clean = True

    def keep(line: str) -> None:
        with kept.open("a", encoding="utf-8") as file:
            file.write(line)

    with ThreadPoolExecutor(processes) as pool:
        for machine in names:
            done = {one["seed"] for one in remembered(kept, machine)}
            seeds = [seed for seed in range(-(-sequences // piece)) if seed not in done]
            shares = [seeds[first::processes] for first in range(processes)]
            list(pool.map(lambda share, of=machine: pieces_elsewhere(of, share, piece, keep) if share else None, shares))
            lines = remembered(kept, machine)
            found = sorted(one["seed"] for one in lines if one["found"])
            whole = sum(one["sequences"] for one in lines)
            checks, seconds = sum(one["checks"] for one in lines), sum(one["seconds"] for one in lines)
            clean = clean and not found and whole >= sequences
            verdict = f"found in seeds {found}" if found else "nothing found"
            print(f"{machine:12} {whole:7,} sequences {checks:9,} checks {seconds:8,.0f} s  {verdict}", flush=True)
    return clean


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("machines", nargs="*", default=list(machines()), metavar="machine")
    parser.add_argument("--sequences", type=int, default=10_000)
    parser.add_argument("--piece", type=int, default=500)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kept", type=Path, default=ROOT / ".tools" / "fuzzed.jsonl")
    parser.add_argument("--seeds", type=int, nargs="+", help="these pieces alone, here")
    told = parser.parse_args()
    if unknown := set(told.machines) - set(machines()):
        parser.error(f"no machine {', '.join(sorted(unknown))}; there are {', '.join(machines())}")
    if told.seeds:
        found = ""
        for machine in told.machines:
            for line in do_pieces(machine, told.seeds, told.piece):
                print(json.dumps(line), flush=True)
                found += line["found"]
        return int(bool(found))
    told.kept.parent.mkdir(parents=True, exist_ok=True)
    return int(not night(told.machines, told.sequences, told.piece, told.kept, told.processes))


if __name__ == "__main__":
    sys.exit(main())
