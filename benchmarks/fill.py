"""A storage directory with a long past: the rows of a real, small one again and again, under other keys."""

from __future__ import annotations

import sqlite3
from pathlib import Path

KEYS = ("study_key", "series_key", "instance_key", "received_digest", "data_digest")
VARIES = frozenset((*KEYS, "study_uid", "series_uid", "sop_uid", "name", "original", "cleaned", "patient"))
TABLES = {"journal.db": ("instance", "sent", "study", "delivery", "segment"), "identity.db": ("identity",)}
BATCH = 50  # studies that are entered with one statement


def multiply(storage: Path, instances: int) -> int:
    """Enter copies of what is there until the journal has that many instances; how many it has. The node must not run.

    Once for each directory: copies have the same numbers each time.
    The keys of copies are spread like those of real instances, so the indices grow as they would.
    """
    with sqlite3.connect(storage / "journal.db") as journal:
        here = int(journal.execute("SELECT count(*) FROM instance").fetchone()[0])
    copies = (instances - here + here - 1) // here
    if copies <= 0:
        return here
    for file, tables in TABLES.items():
        database = sqlite3.connect(storage / file)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA cache_size=-400000")
        for table in tables:
            _copy(database, table, copies)
        database.commit()
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
    return here * (copies + 1)


def _copy(database: sqlite3.Connection, table: str, copies: int) -> None:
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})") if row[1] != "id"]
    values = [_varied(column) if column in VARIES else f'o."{column}"' for column in columns]
    names = ", ".join(f'"{column}"' for column in columns)
    database.execute(f"CREATE TEMP TABLE original AS SELECT * FROM {table}")
    chosen = f"SELECT {', '.join(values)} FROM n CROSS JOIN original o"
    for first in range(1, copies + 1, BATCH):
        last = min(first + BATCH - 1, copies)
        count = f"WITH RECURSIVE n(i) AS (VALUES({first}) UNION ALL SELECT i + 1 FROM n WHERE i < {last})"
        database.execute(f"INSERT INTO {table} ({names}) {count} {chosen}")
    database.execute("DROP TABLE original")


def _varied(column: str) -> str:
    """The value with 8 digits of it replaced; the same value in another table becomes the same again.

    Keys and digests begin with what distinguishes them, UIDs (2.25.N), pseudonyms and names of segments end with it.
    No copy has a segment: all is delivered.
    """
    number = "printf('%08d', (n.i * 2654435761) % 100000000)"
    value = f'o."{column}"'
    if column in KEYS:
        return f"CASE {value} WHEN '' THEN '' ELSE {number} || substr({value}, 9) END"
    return f"CASE {value} WHEN '' THEN '' ELSE substr({value}, 1, max(length({value}) - 8, 5)) || {number} END"
