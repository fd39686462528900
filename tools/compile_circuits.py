"""Compile the zero-knowledge circuits and make their DEVELOPMENT keys.

    python tools/compile_circuits.py            write src/walras/metering/proofs/artifacts
    python tools/compile_circuits.py --check    compile again, make the keys again, and fail where a committed artifact differs

The compiler is circom in WebAssembly, a pinned development dependency (`npm ci`), run as a program of its own: nothing of it is
in what it writes here, constraints and a list of names. The keys come from a public seed (`development_setup`): byte for byte
the same everywhere, and worth nothing but for development. After a real ceremony:

    python tools/compile_circuits.py --keys FOLDER --ceremony "where it is written up"

takes FOLDER/NAME.verifying.json (snarkjs' `zkey export verificationkey`) of every circuit instead. What such a ceremony is held
over, the committed constraints, `--r1cs FOLDER` writes as NAME.r1cs.
"""

from __future__ import annotations

import argparse
import json
import lzma
import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from walras.metering.proofs.circuits import CIRCUITS, DEVELOPMENT, r1cs_of
from walras.metering.proofs.development_setup import development_keys
from walras.metering.proofs.keys import key_as_json, key_from_json
from walras.metering.proofs.poseidon import circom_constants
from walras.metering.proofs.r1cs import read_circuit

ROOT = Path(__file__).parent.parent
PROOFS = ROOT / "src/walras/metering/proofs"
COMPILER = ROOT / "node_modules/circom2"
OPTIONS = ("--O1", "--prime", "bn128")


def compiled(wasm: Path | None = None) -> dict[str, tuple[bytes, bytes]]:
    """r1cs and sym of every circuit; with `wasm`, the compiler's own witness programs are put into that folder."""
    if not COMPILER.is_dir():
        sys.exit("The circuit compiler is not installed. Way out: npm ci")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for source in (PROOFS / "circuits").glob("*.circom"):
            shutil.copy(source, work)
        (work / "poseidon_constants.circom").write_text(circom_constants(), encoding="utf-8")
        found = {}
        for name in CIRCUITS:
            outputs = ["--r1cs", "--sym", *(["--wasm"] if wasm else [])]
            command = ["node", str(COMPILER / "cli.js"), f"{name}.circom", *OPTIONS, *outputs, "-o", "."]
            run = subprocess.run(command, cwd=work, capture_output=True, text=True, timeout=300)
            if run.returncode or "rror" in run.stdout + run.stderr:
                sys.exit(f"{name} does not compile:\n{run.stdout}{run.stderr}")
            found[name] = (work / f"{name}.r1cs").read_bytes(), (work / f"{name}.sym").read_bytes()
            if wasm:
                shutil.copytree(work / f"{name}_js", wasm / f"{name}_js", dirs_exist_ok=True)
        return found


def wanted(keys: Path | None, ceremony: str) -> dict[str, bytes]:
    """Name and content (before compression) of every artifact."""
    artifacts: dict[str, bytes] = {}
    constraints = {}
    for name, (r1cs, symbols) in compiled().items():
        artifacts[f"{name}.r1cs.xz"], artifacts[f"{name}.sym.xz"] = r1cs, symbols
        constraints[name] = sha256(r1cs).hexdigest()
        if keys is None:
            text = key_as_json(development_keys(read_circuit(name, r1cs, symbols.decode())).verifying)
        else:
            text = key_as_json(key_from_json((keys / f"{name}.verifying.json").read_text(encoding="utf-8")))
        artifacts[f"{name}.verifying.json"] = text.encode()
    package = json.loads((COMPILER / "package.json").read_text(encoding="utf-8"))
    sources = {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted((PROOFS / "circuits").glob("*.circom"))}
    sources["poseidon_constants.circom"] = sha256(circom_constants().encode()).hexdigest()
    content = {
        "compiler": f"circom2 {package['version']}",
        "options": OPTIONS,
        "ceremony": ceremony,
        "sources": sources,
        "constraints": constraints,
    }
    artifacts["circuits.json"] = (json.dumps(content, indent=1) + "\n").encode()
    return artifacts


def main() -> int:
    """Write or check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--keys", type=Path)
    parser.add_argument("--ceremony", default=DEVELOPMENT)
    parser.add_argument("--r1cs", type=Path)
    chosen = parser.parse_args()
    if chosen.r1cs is not None:
        chosen.r1cs.mkdir(parents=True, exist_ok=True)
        for name in CIRCUITS:
            (chosen.r1cs / f"{name}.r1cs").write_bytes(r1cs_of(name))
        return 0
    if (chosen.keys is None) != (chosen.ceremony == DEVELOPMENT):
        parser.error("--keys and --ceremony go together")
    folder = PROOFS / "artifacts"
    folder.mkdir(exist_ok=True)
    artifacts = wanted(chosen.keys, chosen.ceremony)
    committed = {path.name: path.read_bytes() for path in folder.iterdir()}
    same = {
        name: name in committed and (lzma.decompress(committed[name]) if name.endswith(".xz") else committed[name]) == content
        for name, content in artifacts.items()
    }
    stale = sorted(committed.keys() - artifacts.keys())
    if chosen.check:
        faults = [f"{name}: differs" for name, is_same in same.items() if not is_same] + [f"{name}: no source" for name in stale]
        print("\n".join(faults) if faults else f"{len(artifacts)} artifacts are what the circuits give, {chosen.ceremony} keys")
        return 1 if faults else 0
    for name in stale:
        (folder / name).unlink()
    for name, content in artifacts.items():
        if not same[name]:
            (folder / name).write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME) if name.endswith(".xz") else content)
    print(f"{len(same) - sum(same.values())} written, {len(stale)} removed, {len(artifacts)} in all")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
