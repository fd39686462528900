"""One of everything that commands take, in a folder made once a test process, and a way to call a command."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from walras import cli
from walras.study.runner import Options, Run

ROOT = Path(__file__).parents[1]
RURAL1 = ROOT / "examples" / "rural1.toml"
BOOK = ROOT / "docs" / "learn" / "book.json"


@cache
def world() -> Path:
    """A folder with one of everything: a community, a short run of it, keys, a secret, and what no command can use."""
    folder = Path(mkdtemp(prefix="walras-test-"))
    text = (
        RURAL1.read_text(encoding="utf-8").replace("slot_minutes = 15", "slot_minutes = 60")
        + "\n[wires]\nimport_limit_kw = 30\nreserve_up_kw = 1\n\n[privacy]\nepsilon = 1\ncap_kwh_per_day = 50\n"
    )
    (folder / "community.toml").write_text(text, encoding="utf-8")
    for _ in Run(folder / "community.toml", folder / "run", Options()):
        pass
    (folder / "secret").write_text("5a" * 32 + "\n", encoding="ascii")
    (folder / "empty").write_bytes(b"")
    (folder / "binary").write_bytes(bytes(range(256)))
    (folder / "folder").mkdir()
    (folder / "readings").write_text("0 1 2\n", encoding="ascii")
    walras("key", str(folder / "key.pem"), "--new")
    walras("consent", str(folder / "run"), "home-1", "proof")
    return folder


def walras(*words: str) -> int:
    """The exit code of `walras WORDS`."""
    app = cli.app
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cli, "app", lambda: app(words))
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0
