"""What holds for every test.

Property tests draw anew each time on a developer's machine; in CI they draw the same examples, so that red means a change.
Commands speak to a terminal so wide that no sentence is broken; a test of the width sets its own.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI") == "true":
    settings.load_profile("ci")


def pytest_sessionstart(session: pytest.Session) -> None:
    """The wide terminal is for the commands; pytest's own lines stay as wide as they were."""
    writer = session.config.get_terminal_writer()
    writer.fullwidth = writer.fullwidth
    os.environ["COLUMNS"] = "10000"
