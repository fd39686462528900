"""`python -m bench [--only NAME] [--full]`: run every claim (or those whose name or file contains NAME), print them, keep them.

Each `bench_*.py` beside this file has `results() -> list[Result]`; where one takes long it has `full_results()` too, which `--full`
runs in its place. Figures are merged by name into `results.json`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

from bench.harness import Result

HERE = Path(__file__).parent
KEPT = HERE / "results.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", default="", help="run only benchmarks whose file or claim name contains this")
    parser.add_argument("--full", action="store_true", help="the long form of those that have one: a whole year of readings")
    given = parser.parse_args()
    chosen = given.only
    kept: dict[str, Result] = {row["name"]: row for row in json.loads(KEPT.read_text())} if KEPT.exists() else {}
    ran: list[Result] = []
    for path in sorted(HERE.glob("bench_*.py")):
        by_file = chosen in path.stem
        if not by_file and chosen not in path.read_text(encoding="utf-8"):
            continue
        module = importlib.import_module(f"bench.{path.stem}")
        measure = module.full_results if given.full and hasattr(module, "full_results") else module.results
        for row in measure():
            if by_file or chosen in row["name"]:
                mark = "ok  " if row["holds"] else "MISS"
                print(f"{mark} {row['name']:<52} {row['ratio']:>10.3f}   goal {row['goal']:<16} {row['detail']}", flush=True)
                ran.append(row)
    if not ran:
        print(f"no benchmark is named {chosen!r}", file=sys.stderr)
        return 2
    kept.update({row["name"]: row for row in ran})
    KEPT.write_text(json.dumps(sorted(kept.values(), key=lambda row: row["name"]), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
