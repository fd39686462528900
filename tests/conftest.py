"""What holds for every test.

Property tests draw anew each time on a developer's machine; in CI they draw the same examples, so that red means a change.
Commands speak to a terminal so wide that no sentence is broken; a test of the width sets its own.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI") == "true":
    settings.load_profile("ci")

os.environ["COLUMNS"] = "10000"
