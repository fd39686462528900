"""The tests of a night in pieces: a piece is one test file in one process; what is done is remembered, what is missing goes on.

    python tools/test_in_pieces.py                          # every test file, two at a time, what is missing
    python tools/test_in_pieces.py --nightly tests/laws     # of some files the tests marked `nightly` alone
    python tools/test_in_pieces.py --longest 600            # what takes longer is ended, said, and left for another time

A finished piece is a line of the file `--kept` (JSON): file, tests, failed, skipped, seconds, the load when it ended, and a hash of
all sources and tests. Started again it does the files of which no line tells that they passed, or all where a source has changed.
The output of a file that failed is kept beside the lines. Exit 1 where something failed or is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
NOTHING_CHOSEN = 5  # pytest's exit code where a file has no test of the kind asked for
COUNTED = ("tests", "failures", "errors", "skipped")


def sources() -> str:
    """A hash of everything that a test may depend on."""
    found = [path for folder in ("src", "tests", "docs", "examples") for path in (ROOT / folder).rglob("*") if path.is_file()]
    own = [path for path in found if "__pycache__" not in path.parts]
    told = sha256()
    for path in sorted(own):
        told.update(str(path.relative_to(ROOT)).encode() + sha256(path.read_bytes()).digest())
    return told.hexdigest()[:12]


def files_of(paths: list[Path]) -> list[str]:
    """The test files in these folders and files, and `src` for the examples in docstrings."""
    inside = [sorted(path.rglob("test_*.py")) if path.is_dir() and path.name != "src" else [path] for path in paths]
    return [str(path.resolve().relative_to(ROOT)) for some in inside for path in some]


def counted(report: Path) -> dict[str, int]:
    """What pytest's report counts; none where it ended before it wrote one."""
    if not report.exists():
        return dict.fromkeys(COUNTED, 0)
    suites = ElementTree.parse(report).getroot().iter("testsuite")
    totals = [[int(suite.get(name, 0)) for name in COUNTED] for suite in suites]
    return dict(zip(COUNTED, map(sum, zip(*totals, strict=True)), strict=True))


def do_piece(name: str, kind: str, longest: int, folder: Path) -> dict[str, Any]:
    """Run one file here; its output stays where it failed."""
    stem = name.replace("/", "-").removesuffix(".py")
    report, log = folder / f"{stem}.xml", folder / f"{stem}.log"
    report.unlink(missing_ok=True)
    chosen = ["-m", "nightly"] if kind == "nightly" else []
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", f"--junitxml={report}", *chosen, name]
    started = time.perf_counter()
    environment = os.environ | {"WALRAS_NIGHTLY": "1"}
    with (
        log.open("w", encoding="utf-8") as output,
        subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output, env=environment, start_new_session=True) as process,
    ):
        try:
            code = process.wait(longest)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its nodes and exchanges too
            code = process.wait()
            output.write(f"\nended after {longest} s\n")
    passed = code in (0, NOTHING_CHOSEN)
    told = {"file": name, "kind": kind, "passed": passed, **counted(report)}
    report.unlink(missing_ok=True)
    if passed:
        log.unlink()
    return told | {"seconds": round(time.perf_counter() - started, 1), "load": round(os.getloadavg()[0], 1)}


def remembered(kept: Path, kind: str, now: str) -> dict[str, dict[str, Any]]:
    """The latest line of each file that was run as it is now."""
    lines = kept.read_text(encoding="utf-8").splitlines() if kept.exists() else []
    rows = [row for row in map(json.loads, lines) if row["sources"] == now and row["kind"] == kind]
    return {row["file"]: row for row in rows}


def night(names: list[str], kind: str, longest: int, processes: int, kept: Path) -> bool:
    """All files that are missing or failed; a line for each as it ends; whether all passed."""
    now = sources()
    before = remembered(kept, kind, now)
    missing = [name for name in names if not before.get(name, {"passed": False})["passed"]]
    print(f"{len(names)} files, {len(names) - len(missing)} done before", flush=True)

    def do(name: str) -> None:
        line = do_piece(name, kind, longest, kept.parent)
        with kept.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line | {"sources": now}) + "\n")
        verdict = "passed" if line["passed"] else f"FAILED: {kept.parent}"
        print(f"{name:60} {line['tests']:5} tests {line['seconds']:8.1f} s  {verdict}", flush=True)

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(do, missing))
    rows = [row for name, row in remembered(kept, kind, now).items() if name in names]
    total = {name: sum(row[name] for row in rows) for name in (*COUNTED, "seconds")}
    print(f"{len(rows)} files: " + ", ".join(f"{name} {number:,.0f}" for name, number in total.items()))
    if now != sources():
        print("a source changed while the tests ran: start again")
        return False
    return len(rows) == len(names) and all(row["passed"] for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, default=[ROOT / "tests", ROOT / "src"])
    parser.add_argument("--nightly", action="store_true", help="the tests marked nightly alone")
    parser.add_argument("--longest", type=int, default=4 * 3_600, metavar="SECONDS", help="end a file that takes longer")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--kept", type=Path, default=ROOT / ".tools" / "night" / "pieces.jsonl")
    told = parser.parse_args()
    told.kept.parent.mkdir(parents=True, exist_ok=True)
    kind = "nightly" if told.nightly else "all"
    return int(not night(files_of(told.paths), kind, told.longest, told.processes, told.kept))


if __name__ == "__main__":
    sys.exit(main())
