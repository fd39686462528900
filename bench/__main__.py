"""`python -m bench [--only NAME]`: run every claim (or those whose name or file contains NAME), print them, keep them.

Each `bench_*.py` beside this file has `results() -> list[Result]`. Figures are merged by name into `results.json`.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import sys
from pathlib import Path

from bench.harness import Result

HERE = Path(__file__).parent
KEPT = HERE / "results.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", default="", help="run only benchmarks whose file or claim name contains this")
    chosen = parser.parse_args().only
    kept: dict[str, Result] = {row["name"]: row for row in json.loads(KEPT.read_text())} if KEPT.exists() else {}
    ran: list[Result] = []
    for path in sorted(HERE.glob("bench_*.py")):
        module = importlib.import_module(f"bench.{path.stem}")
        takes_only = "only" in inspect.signature(module.results).parameters
        if chosen and chosen not in path.stem and not takes_only:
            rows = [row for row in module.results() if chosen in row["name"]] if _names(path, chosen) else []
        elif takes_only:
            rows = module.results(only="" if chosen in path.stem else chosen)
        else:
            rows = module.results()
        for row in rows:
            print(
                f"{'ok  ' if row['holds'] else 'MISS'} {row['name']:<52} {row['ratio']:>10.3f}   goal {row['goal']:<16} {row['detail']}"
            )
            sys.stdout.flush()
        ran += rows
    if not ran:
        print(f"no benchmark is named {chosen!r}", file=sys.stderr)
        return 2
    kept.update({row["name"]: row for row in ran})
    KEPT.write_text(json.dumps(sorted(kept.values(), key=lambda row: row["name"]), indent=1) + "\n")
    return 0


def _names(path: Path, chosen: str) -> bool:
    """Whether the file may hold a claim of that name: its text mentions it."""
    return chosen in path.read_text() or chosen.split(" ")[0] in path.read_text()


if __name__ == "__main__":
    raise SystemExit(main())
