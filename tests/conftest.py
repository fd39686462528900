"""What holds for every test.

Property tests draw anew each time on a developer's machine; in CI they draw the same examples, so that red means a change.
Commands speak to a terminal so wide that no sentence is broken; a test of the width sets its own.
Folders are made in memory where there is room (a run commits a thousand times, and a disk makes each commit wait), unless
--basetemp or TMPDIR say where; with the session they go.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

IN_MEMORY = Path("/dev/shm")
ROOM = 4 * 2**30  # bytes free
MINE = "walras-tests-"

settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI") == "true":
    settings.load_profile("ci")


def pytest_configure(config: pytest.Config) -> None:
    """Before the first temporary folder, and before other test processes start and take over where it is."""
    if hasattr(config, "workerinput") or config.option.basetemp or "TMPDIR" in os.environ:
        return
    if not os.access(IN_MEMORY, os.W_OK) or shutil.disk_usage(IN_MEMORY).free < ROOM:
        return
    for folder in IN_MEMORY.glob(f"{MINE}*"):  # of sessions that were killed
        if not Path(f"/proc/{folder.name.removeprefix(MINE)}").exists():
            shutil.rmtree(folder, ignore_errors=True)
    own = IN_MEMORY / f"{MINE}{os.getpid()}"
    own.mkdir(mode=0o700)
    os.environ["TMPDIR"] = tempfile.tempdir = str(own)
    config.add_cleanup(lambda: shutil.rmtree(own, ignore_errors=True))


def pytest_collection_finish() -> None:
    """What was collected stays to the end: the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


def pytest_sessionstart(session: pytest.Session) -> None:
    """The wide terminal is for the commands; pytest's own lines stay as wide as they were."""
    writer = session.config.get_terminal_writer()
    writer.fullwidth = writer.fullwidth
    os.environ["COLUMNS"] = "10000"
