"""Property tests draw anew each time on a developer's machine; in CI they draw the same examples, so that red means a change."""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True, print_blob=True)
if os.environ.get("CI") == "true":
    settings.load_profile("ci")
