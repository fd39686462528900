"""Run slither over the contracts with the pinned compiler and hold its findings against docs/decisions/slither.md.

    python tools/slither_contracts.py PATH-TO-SLITHER

Slither (AGPL) is run as a program of its own, installed wherever the caller likes; nothing of it is imported. Every finding of
low impact or more in our own sources must be named in the decision page, as `detector` in `Contract.function`, with its reason; a
finding that is not there fails, and so does an entry that is found no more.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
CONTRACTS = ROOT / "src" / "walras" / "ledger" / "contracts"
PAGE = ROOT / "docs" / "decisions" / "slither.md"


def standard_json() -> dict[str, object]:
    """The compiler's input: our sources; the library's come through the compiler's own import callback."""
    return {
        "language": "Solidity",
        "sources": {path.name: {"content": path.read_text(encoding="utf-8")} for path in sorted(CONTRACTS.glob("*.sol"))},
        "settings": {
            "optimizer": {"enabled": True, "runs": 1},
            "viaIR": True,
            "evmVersion": "cancun",
            "outputSelection": {
                "*": {
                    "*": ["abi", "metadata", "devdoc", "userdoc", "evm.bytecode", "evm.deployedBytecode"],
                    "": ["ast"],
                }
            },
        },
    }


def findings(slither: str) -> set[tuple[str, str]]:
    """(detector, Contract.function or Contract) of every finding of low impact or more whose first element is ours."""
    with tempfile.TemporaryDirectory() as place:
        order, answer = Path(place) / "contracts.json", Path(place) / "findings.json"
        for path in CONTRACTS.glob("*.sol"):  # it looks the files up again, from where it is started
            (Path(place) / path.name).symlink_to(path)
        (Path(place) / "@openzeppelin").symlink_to(ROOT / "node_modules" / "@openzeppelin")
        order.write_text(json.dumps(standard_json()), encoding="utf-8")
        command = [
            slither,
            str(order),
            "--compile-force-framework",
            "Solc-json",
            "--solc",
            str(ROOT / "tools" / "solc.mjs"),
            "--exclude-informational",
            "--exclude-optimization",
            "--filter-paths",
            "@openzeppelin",
            "--json",
            str(answer),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=3_000, cwd=place)
        if not answer.exists():
            sys.exit(f"slither gave no answer:\n{done.stderr[-3000:]}")
        content = json.loads(answer.read_text(encoding="utf-8"))
    if not content["success"]:
        sys.exit(f"slither failed: {content['error']}")
    return {(one["check"], _place(one["elements"][0])) for one in content["results"].get("detectors", [])}


def _place(element: dict[str, object]) -> str:
    parent = element.get("type_specific_fields", {}).get("parent", {})  # type: ignore[attr-defined]
    if element["type"] in ("function", "variable", "event") and parent:
        return f"{parent['name']}.{element['name']}"
    while parent and parent.get("type") not in ("contract", None) and "type_specific_fields" in parent:
        above = parent["type_specific_fields"].get("parent", {})
        if above.get("type") == "contract":
            return f"{above['name']}.{parent['name']}"
        parent = above
    return str(element["name"])


def explained() -> set[tuple[str, str]]:
    """The pairs that the decision page names in its table."""
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.+?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {(detector, place) for detector, places in rows for place in re.findall(r"`([^`]+)`", places)}


def main() -> None:
    """Compare; exit 1 where they differ."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found, known = findings(sys.argv[1]), explained() if PAGE.exists() else set()
    for detector, place in sorted(found - known):
        print(f"not explained: {detector} in {place}")
    for detector, place in sorted(known - found):
        print(f"explained, not found: {detector} in {place}")
    print(f"{len(found)} findings, {len(found & known)} explained")
    sys.exit(1 if found != known else 0)


if __name__ == "__main__":
    main()
