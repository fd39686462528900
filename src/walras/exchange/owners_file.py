"""Files about a member in clear (an export, a bill, the page of a report) are their owner's alone to read, whatever the umask.

A file that is there already keeps who may read it: somebody has decided that.
"""

from __future__ import annotations

import os
from pathlib import Path


def write_owners_file(path: Path, text: str) -> None:
    """Write `text` (UTF-8) to `path`; a new file is readable and writable by its owner and by nobody else."""
    with open(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "w", encoding="utf-8") as stream:
        stream.write(text)
