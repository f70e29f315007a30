"""The migrations lead to the tables that the code uses, and the storage lock keeps others out."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, create_engine

from dicomnode import store
from dicomnode.errors import CannotKeep, StorageLocked
from dicomnode.store import database, schema
from dicomnode.store.identity import IdentityBook
from dicomnode.store.journal import Journal
from dicomnode.store.lock import StorageLock

KINDS = [
    ("journal", Journal, schema.journal, schema.JOURNAL_HEAD),
    ("identity", IdentityBook, schema.identity, schema.IDENTITY_HEAD),
]


@pytest.mark.parametrize(("kind", "room", "tables", "head"), KINDS)
def test_migrations_make_the_schema(
    tmp_path: Path, kind: str, room: type[Journal | IdentityBook], tables: MetaData, head: str
) -> None:
    with create_engine(f"sqlite:///{tmp_path / 'migrated.db'}").connect() as connection:
        database._upgrade(connection, kind, "migrated.db")
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, tables) == []
        assert context.get_current_revision() == head
        migrated = _statements(connection)
    opened = room.open(tmp_path / "new.db")
    with opened._engine.connect() as connection:
        assert _statements(connection) == migrated
        assert MigrationContext.configure(connection).get_current_revision() == head
    opened.close()
    config = Config()
    config.set_main_option("script_location", str(Path(store.__file__).parent / "migrations" / kind))
    assert ScriptDirectory.from_config(config).get_heads() == [head]


def _statements(connection: Connection) -> dict[str, str]:
    """How each table, index and view was made, without spaces and the quotes that a name needs not."""
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master").all()
    return {name: re.sub(r'[\s"]|IF NOT EXISTS', "", str(statement)) for name, statement in rows}


@pytest.mark.parametrize("there", [False, True])
def test_a_new_or_current_journal_loads_no_migrations(tmp_path: Path, there: bool) -> None:
    if there:
        Journal.open(tmp_path / "journal.db").close()
    program = (
        "import sys, pathlib; from dicomnode.store.journal import Journal; "
        "Journal.open(pathlib.Path(sys.argv[1])).close(); print('alembic' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "journal.db")], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "False\n"


def test_one_process_holds_the_directory(tmp_path: Path) -> None:
    with StorageLock(tmp_path):
        with pytest.raises(StorageLocked, match="another dicomnode"):
            StorageLock(tmp_path)
        program = (
            "import sys, pathlib; from dicomnode.store.lock import StorageLock; StorageLock(pathlib.Path(sys.argv[1]))"
        )
        answer = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True)
        assert answer.returncode == 1
        assert "StorageLocked" in answer.stderr
    lock = StorageLock(tmp_path)
    lock.release()
    lock.release()
    with pytest.raises(CannotKeep):
        StorageLock(tmp_path / "missing")
