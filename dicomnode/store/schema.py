"""The tables of both databases. Values in the journal are pseudonymous; those of the identity book identify.

A new database is made in this shape; the migrations below `migrations/` bring older ones to it, `*_HEAD` is the newest.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    bindparam,
    text,
)

JOURNAL_HEAD = "0004"
IDENTITY_HEAD = "0004"

journal = MetaData()
identity = MetaData()


def _text(name: str, *, primary_key: bool = False) -> Column[str]:
    return Column(name, String, nullable=False, primary_key=primary_key)


study = Table(
    "study",
    journal,
    _text("project", primary_key=True),
    _text("study_key", primary_key=True),
    _text("study_uid"),
    _text("patient"),
    _text("state"),
    Column("stored", Integer, nullable=False),
    Column("withheld", Integer, nullable=False),
    Column("expected", Integer),
    _text("evidence"),
    Column("amended", Boolean, nullable=False),
    Column("first_at", Float, nullable=False),
    Column("last_at", Float, nullable=False),
    Column("missing", Integer, nullable=False, server_default="0"),
    Index("study_by_key", "study_key"),
    Index("study_by_uid", "study_uid"),
    Index("study_by_state", "state"),
)

# One row per clean instance; the columns from `segment` on are empty once its segment has been deleted.
instance = Table(
    "instance",
    journal,
    Column("id", Integer, primary_key=True),
    _text("project"),
    _text("study_key"),
    _text("series_key"),
    _text("instance_key"),
    _text("study_uid"),
    _text("series_uid"),
    _text("sop_uid"),
    _text("sop_class"),
    _text("transfer_syntax"),
    _text("patient"),
    _text("modality"),
    _text("received_digest"),
    _text("data_digest"),
    _text("rules_digest"),
    _text("peer"),
    Column("received_at", Float, nullable=False),
    Column("segment", String),
    Column("offset", Integer),
    Column("length", Integer),
    Column("data_offset", Integer),
    Column("data_length", Integer),
    Column("data_set_offset", Integer),
    UniqueConstraint("segment", "offset", name="instance_by_place"),
    Index("instance_by_key", "instance_key"),
    Index("instance_by_study", "study_key"),
)

# Up to which offset each segment has rows; kept after its deletion, so that recovery never reads one twice.
segment = Table("segment", journal, _text("name", primary_key=True), Column("extent", Integer, nullable=False))

# `fate` is empty while the original waits, then released or discarded.
withheld = Table(
    "withheld",
    journal,
    Column("id", Integer, primary_key=True),
    _text("project"),
    _text("quarantine"),
    _text("study_key"),
    _text("series_key"),
    _text("instance_key"),
    _text("study_uid"),
    _text("reason"),
    _text("where"),
    _text("sop_class"),
    _text("received_digest"),
    _text("rules_digest"),
    _text("peer"),
    Column("received_at", Float, nullable=False),
    Column("length", Integer, nullable=False),
    Column("fate", String, nullable=False, server_default=""),
    Column("fate_at", Float),
    UniqueConstraint("project", "quarantine", name="withheld_by_quarantine"),
    Index("withheld_by_key", "instance_key"),
    Index("withheld_by_study", "study_key"),
)

delivery = Table(
    "delivery",
    journal,
    _text("project", primary_key=True),
    _text("study_key", primary_key=True),
    _text("destination", primary_key=True),
    _text("state"),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    _text("error"),
    Column("sent", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Index("delivery_by_state", "state"),
)

# The last final answer of a destination to an instance: sent, or refused for good.
sent = Table(
    "sent",
    journal,
    _text("instance_key", primary_key=True),
    _text("destination", primary_key=True),
    _text("project", primary_key=True),
    Column("status", Integer, nullable=False),
    Column("ok", Boolean, nullable=False),
    Column("at", Float, nullable=False),
    sqlite_with_rowid=False,
)

# What the source listed and the study lacked when it was last judged.
missing = Table(
    "missing",
    journal,
    *(_text(name, primary_key=True) for name in ("project", "study_key", "instance_key")),
    sqlite_with_rowid=False,
)

# `published` is empty where nobody was to be told, false while the event waits to be published.
event = Table(
    "event",
    journal,
    Column("id", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    _text("name"),
    _text("project"),
    _text("study_key"),
    Column("document", Text, nullable=False),
    Column("published", Boolean),
    Index("event_by_study", "study_key"),
    Index("event_waiting", "id", sqlite_where=text("published = 0")),
)

entry = Table(
    "identity",
    identity,
    Column("id", Integer, primary_key=True),
    _text("project"),
    _text("attribute"),
    _text("original"),
    _text("cleaned"),
    _text("study_key"),
    Column("first_at", Float, nullable=False),
    UniqueConstraint("cleaned", "attribute", "project", "original", name="identity_by_cleaned"),
)

# Pseudonyms that somebody else has given; in one study (its original UID) where `study` is not empty.
mapping = Table(
    "mapping",
    identity,
    Column("id", Integer, primary_key=True),
    _text("project"),
    _text("attribute"),
    _text("original"),
    _text("study"),
    _text("cleaned"),
    UniqueConstraint("project", "attribute", "original", "study", name="mapping_by_original"),
)

# What somebody asked for with one command; its studies are its jobs. Those of a `run` wait while they are `held`.
retrieval = Table(
    "retrieval",
    identity,
    Column("id", Integer, primary_key=True),
    _text("project"),
    _text("source"),
    _text("state"),
    Column("priority", Integer, nullable=False),
    _text("modalities"),
    Column("most", Integer, nullable=False),
    Column("any_time", Boolean, nullable=False),
    _text("run"),
    Column("held", Boolean, nullable=False),
    _text("user"),
    Column("at", Float, nullable=False),
    Column("ended_at", Float),
)

# `kind` is study, accession or patient, `value` as it was asked for; one that is no study is replaced by its studies.
job = Table(
    "job",
    identity,
    Column("id", Integer, primary_key=True),
    Column("retrieval", Integer, nullable=False),
    _text("kind"),
    _text("value"),
    _text("patient"),
    _text("since"),
    _text("until"),
    _text("study_key"),
    _text("name"),
    _text("state"),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Float, nullable=False),
    Column("expected", Integer),
    Column("here", Integer),
    _text("error"),
    Column("ended_at", Float),
    UniqueConstraint("retrieval", "kind", "value", "patient", "since", "until", name="job_by_value"),
    Index("job_next", "retrieval", "state", "next_at", "id"),
    Index("job_in_order", "retrieval", "id"),
    Index("job_by_study", "study_key"),
    Index("job_by_end", "retrieval", "ended_at"),
)

# What reviewers said of a study of a run; the comment identifies.
review = Table(
    "review",
    identity,
    Column("id", Integer, primary_key=True),
    Column("retrieval", Integer, nullable=False),
    _text("name"),
    Column("protocol", Boolean, nullable=False),
    _text("comment"),
    Index("review_by_study", "retrieval", "name"),
)

# Whether what a source is told to move to us has come here: `place` is both sides with their addresses.
arrival = Table(
    "arrival",
    identity,
    _text("place", primary_key=True),
    Column("ok", Boolean, nullable=False),
    Column("at", Float, nullable=False),
)


def of_study(table: Table) -> ColumnElement[bool]:
    """The rows of the study that `project` and `study_key` name when the statement is carried out."""
    return and_(table.c.study_key == bindparam("study_key"), table.c.project == bindparam("project"))
