"""Write tests/golden/journal_heads.json anew: run it when a change of the journal's content is meant."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from walras.study.runner import Options, Run

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    """One day of rural1."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(ROOT / "examples" / "rural1.toml", Path(folder) / "run", Options())
        for _ in run:
            pass
        heads = {"rural1, one day": run.head}
    (ROOT / "tests" / "golden" / "journal_heads.json").write_text(json.dumps(heads, indent=1) + "\n")


if __name__ == "__main__":
    main()
