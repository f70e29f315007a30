"""Databases as older versions have left them."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from dicomnode import store


def make(path: Path, kind: str, revision: str) -> None:
    """A database of `kind` (journal or identity) at this revision."""
    config = Config()
    config.set_main_option("script_location", str(Path(store.__file__).parent / "migrations" / kind))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
