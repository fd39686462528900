"""What was deleted from an SQLite file leaves its bytes too, or it is said that it has not yet.

`secure_delete` overwrites what a row held; VACUUM writes the file anew without free pages; the checkpoint carries that from the
write-ahead log into the file and empties the log. Another program that is reading holds the last step back: then what was deleted
can still be read from the file's bytes, and whoever erased must not say that it is gone.
"""

from __future__ import annotations

import sqlite3


def overwritten(db: sqlite3.Connection) -> bool:
    """Write the file anew, outside a transaction; False while another program's reading or writing keeps old bytes in it.

    Waits for others as long as the connection's timeout. Once they have closed it, the next call, or the next closing, does it.
    """
    try:
        db.execute("VACUUM")
        busy, *_ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError as cause:
        if cause.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return False
        raise
    return not busy


STILL_THERE = "erased, but another program has the file open and is using it: until that ends the old bytes are still in it"
WAY_OUT = "end what else uses the file, then open it with any command: it is compacted when it is closed"
