"""Run every command that README.md and docs/ show in a ```console block, in the order of the page, and fail where one fails.

A line that begins with `$ ` is a command; the rest of a block is what it prints and is not compared. Commands run in the
repository's root with `.venv/bin` first on the path. `$ make` lines are left out: they are what everything else stands on.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def commands(page: Path) -> list[str]:
    """The commands of one page."""
    blocks = re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    return [line for line in lines if not line.startswith("make")]


def main() -> int:
    """Exit code 0 when every command of every page ended with 0."""
    environment = {**os.environ, "PATH": f"{ROOT / '.venv' / 'bin'}:{os.environ['PATH']}"}
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    failed, ran = 0, 0
    for page in pages:
        for command in commands(page):
            started = time.monotonic()
            done = subprocess.run(["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            ran += 1
            mark, spent = ("ok  " if done.returncode == 0 else "FAIL"), time.monotonic() - started
            print(f"{mark} {spent:6.1f} s  {page.relative_to(ROOT)}: {command}")
            if done.returncode:
                failed += 1
                print(done.stdout[-2000:], done.stderr[-2000:], sep="\n")
    print(f"{ran - failed} passed, {failed} failed")
    return 1 if failed or not ran else 0


if __name__ == "__main__":
    sys.exit(main())
