"""Prove what tests/symbolic says of the contracts, for all values at once, by symbolic execution.

    python tools/halmos_contracts.py PATH-TO-HALMOS PATH-TO-FORGE [CONTRACT]

Halmos (AGPL) is run as a program of its own, installed wherever the caller likes; nothing of it is imported. Forge only builds,
with the pinned compiler. Exit 1 where a property does not hold or could not be decided.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SETTINGS = """[profile.default]
src = "src"
test = "test"
libs = ["node_modules"]
solc = "{solc}"
offline = true
optimizer = true
optimizer_runs = 1
via_ir = true
evm_version = "cancun"
ast = true
extra_output = ["storageLayout", "metadata"]
remappings = ["@openzeppelin/=node_modules/@openzeppelin/"]
"""


def lay_out(place: Path, only: str) -> None:
    """A forge project in `place`: our contracts and the symbolic tests side by side, since they import by bare names; of the tests
    all, or the one of contract `only`."""
    tests = sorted((ROOT / "tests" / "symbolic").glob("*.t.sol"))
    tests = [path for path in tests if not only or f"contract {only} " in path.read_text(encoding="utf-8")]
    if not tests:
        sys.exit(f"there is no symbolic test contract {only!r}")
    (place / "foundry.toml").write_text(SETTINGS.format(solc=ROOT / "tools" / "solc.mjs"), encoding="utf-8")
    (place / "src").mkdir()
    (place / "test").mkdir()
    (place / "node_modules").symlink_to(ROOT / "node_modules")
    wanted = [path.read_text(encoding="utf-8") for path in tests]
    while wanted:  # what the tests stand on, and what that stands on
        for name in re.findall(r'from "(?:\./)?(\w+\.sol)"', wanted.pop()):
            source = ROOT / "src" / "walras" / "ledger" / "contracts" / name
            if source.exists() and not (place / "src" / name).exists():
                wanted.append(source.read_text(encoding="utf-8"))
                (place / "src" / name).write_text(wanted[-1], encoding="utf-8")
    for path in [*tests, ROOT / "tests" / "symbolic" / "Stubs.sol"]:
        text = path.read_text(encoding="utf-8")
        for own in (place / "src").glob("*.sol"):
            text = text.replace(f'from "{own.name}"', f'from "../src/{own.name}"')
        text = text.replace('from "Stubs.sol"', 'from "./Stubs.sol"')
        (place / "test" / path.name).write_text(text, encoding="utf-8")


def main() -> None:
    """Build, then let halmos look."""
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    halmos, forge = sys.argv[1:3]
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        lay_out(place, sys.argv[3] if len(sys.argv) == 4 else "")
        tools = os.pathsep.join([str(Path(forge).parent), str(Path(halmos).parent), os.environ["PATH"]])
        environment = {**os.environ, "PATH": tools}
        subprocess.run([forge, "build", "--root", made], check=True, timeout=900, env=environment, cwd=made)
        only = ["--contract", sys.argv[3]] if len(sys.argv) == 4 else []
        command = [halmos, "--root", made, "--solver-timeout-assertion", "120000", "--loop", "4", *only]
        sys.exit(subprocess.run(command, check=False, timeout=3_000, env=environment, cwd=made).returncode)


if __name__ == "__main__":
    main()
