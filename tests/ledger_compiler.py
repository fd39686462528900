"""The pinned compiler for tests: changed or foreign contracts, unoptimised. What comes out is kept, named by the hash of all that
goes in, for compiling one takes longer than most tests of it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import pytest

from ledger_world import ROOT

CONTRACTS = ROOT / "src" / "walras" / "ledger" / "contracts"
KEPT = ROOT / ".tools" / "variants"
_TOOLS = (ROOT / "tools" / "compile_variant.mjs", ROOT / "package-lock.json")
_IMPORT = re.compile(r'from "(?:\./)?(\w+)\.sol"')


def compile_order(sources: Mapping[str, str], contracts: list[str], *, with_abi: bool = False) -> dict[str, Any]:
    """What `tools/compile_variant.mjs` answers for these file texts (others are ours as they are)."""
    node = shutil.which("node")
    if node is None or not (ROOT / "node_modules" / "solc").is_dir():
        reason = "the compiler is not installed; way out: npm ci"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    order = json.dumps({"sources": dict(sources), "contracts": contracts, "abi": with_abi})
    kept = KEPT / f"{_name(order, sources, contracts)}.json"
    if not kept.exists():
        done = subprocess.run([str(node), str(_TOOLS[0])], input=order, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0, done.stderr
        KEPT.mkdir(parents=True, exist_ok=True)
        unfinished = kept.with_suffix(f".{os.getpid()}")
        unfinished.write_text(done.stdout, encoding="utf-8")
        unfinished.replace(kept)
    answer: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
    return answer


def _name(order: str, sources: Mapping[str, str], contracts: list[str]) -> str:
    """The hash of the order, of the tools, and of every file of ours that the contracts import, at any remove."""
    parts, open_names, seen = [order.encode(), *(path.read_bytes() for path in _TOOLS)], sorted(contracts), set[str]()
    while open_names:
        name = open_names.pop()
        if name not in seen:
            seen.add(name)
            text = sources.get(f"{name}.sol") or (CONTRACTS / f"{name}.sol").read_text(encoding="utf-8")
            parts.append(text.encode())
            open_names += sorted(_IMPORT.findall(text))
    return sha256(b"\0".join(parts)).hexdigest()
