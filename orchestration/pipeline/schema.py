"""The warehouse's tables, described once: DDL, column metadata in the Dagster UI, and docs all come from here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestration.catalog import AUDIT_FIELDS, Catalog, CatalogObject, FieldType

# A decimal keeps the source's digits, which a numeric column would not; it is JSON number text.
SQL_TYPES = {
    FieldType.STRING: "VARCHAR",
    FieldType.BOOLEAN: "BOOLEAN",
    FieldType.INT: "BIGINT",
    FieldType.DECIMAL: "VARCHAR",
    FieldType.DATE: "DATE",
    FieldType.DATE_TIME: "TIMESTAMP",
}


def quoted(name: str) -> str:
    """An SQL identifier; catalog names are validated, yet some (``order``) are keywords."""
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Column:
    name: str
    type: str
    description: str


@dataclass(frozen=True)
class Table:
    """One warehouse table. Times are UTC without zone, to whole seconds unless said."""

    name: str
    description: str
    columns: tuple[Column, ...]
    looked_up_by: tuple[str, ...] = ()
    """Columns with an index, so that finding a few rows costs by their number and not by the table's."""

    @property
    def ddl(self) -> str:
        columns = ", ".join(f"{quoted(column.name)} {column.type}" for column in self.columns)
        return f"CREATE TABLE IF NOT EXISTS {self.name} ({columns})"

    @property
    def index_ddl(self) -> Iterator[str]:
        plain = self.name.replace('"', "").rpartition(".")[2]
        for column in self.looked_up_by:
            name = quoted(f"{plain}_by_{column}")
            yield f"CREATE INDEX IF NOT EXISTS {name} ON {self.name} ({quoted(column)})"

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


def _table(name: str, description: str, looked_up_by: tuple[str, ...] = (), /, **columns: str) -> Table:
    parts = (text.split(": ", 1) for text in columns.values())
    described = tuple(Column(c, t, d) for c, (t, d) in zip(columns, parts, strict=True))
    return Table(name, description, described, looked_up_by)


STATE = _table(
    "state",
    "Facts about the warehouse itself, each committed with the data it describes.",
    name="VARCHAR: what is stated (epoch, cursor_key, watermark, reading, ...)",
    value="VARCHAR: its value as text",
)
MODIFICATION_RECORDS = _table(
    "modification_records",
    "The CRM's Modification Tracking events as read, each once.",
    ("object_id",),
    event_id="VARCHAR: row id of the event",
    object_name="VARCHAR: tracked record type, in the web service's spelling",
    object_id="VARCHAR: row id of the tracked record",
    child_name="VARCHAR: child or associated record type, if the event is about one",
    child_id="VARCHAR: its row id",
    event_name="VARCHAR: what happened (WriteRecordUpdated, DeleteRecord, ...)",
    modification_number="BIGINT: the tracked record's modification counter",
    modified_date="TIMESTAMP: the event's stamp; when it was read, where it has none that can be read",
    read_at="TIMESTAMP: when this row was read",
    reading="BIGINT: the number of that reading; later ones are higher",
)
DELETED_ITEMS = _table(
    "deleted_items",
    "The CRM's Deleted Items list as read: proof that a missing row is deleted.",
    ("row_id",),
    object="VARCHAR: catalog object; empty for an entry of a type that none claims",
    row_id="VARCHAR: the deleted row",
    deleted_at="TIMESTAMP: the CRM's stamp; none where it cannot be read",
    read_at="TIMESTAMP: when this entry was read",
    reading="BIGINT: the number of that reading; later ones are higher",
)
READ_WINDOWS = _table(
    "read_windows",
    "Which part of the event log each sync covered.",
    lower_bound="TIMESTAMP: events from here on, inclusive",
    upper_bound="TIMESTAMP: up to here, exclusive; the next watermark",
    events_read="BIGINT: events the CRM gave",
    events_new="BIGINT: of them, not read before",
    read_at="TIMESTAMP: when",
)
READ_REQUESTS = _table(
    "read_requests",
    "What remains to be read from the CRM: written with the events that ask for it, removed with the rows that answer.",
    object="VARCHAR: catalog object",
    kind="VARCHAR: id (one row), field (rows by a field's value), since (by ModifiedDate), sweep, census, all",
    field="VARCHAR: for kind field: the field",
    value="VARCHAR: the id, the field's value, or the lower bound of ModifiedDate",
    reason="VARCHAR: why",
    requested_at="TIMESTAMP: when, to the microsecond",
    reading="BIGINT: the reading that had begun last by then",
    position="BIGINT: for kind all: rows read and stored so far",
    missed="INTEGER: sound answers so far that lacked what was asked for; a second one counts",
    unanswered="BOOLEAN: whether the last answer proved nothing; such a request does not keep others from publication",
)
TOUCHED = _table(
    "touched",
    "Rows whose snapshot changed since the last publication.",
    object="VARCHAR: catalog object",
    row_id="VARCHAR: row",
)
RAW_PAYLOADS = _table(
    "raw_payloads",
    "Rows as the CRM gave them, kept for the retention time.",
    object="VARCHAR: catalog object",
    row_id="VARCHAR: row",
    read_at="TIMESTAMP: when",
    payload="VARCHAR: JSON of field to wire text",
)
QUARANTINE = _table(
    "quarantine",
    "What could not be understood in rows. It keeps its last good value, or none; everything else is served as read.",
    object="VARCHAR: catalog object",
    row_id="VARCHAR: row, if it had an id",
    field="VARCHAR: the field at fault",
    reason="VARCHAR: what is wrong, without the value",
    seen_at="TIMESTAMP: when",
    reading="BIGINT: the number of that reading; later ones are higher",
)
KEPT_CONTENT = _table(
    "kept_content",
    "Rows that stay as they were published, since their present content cannot be told; until they are read again.",
    object="VARCHAR: catalog object",
    row_id="VARCHAR: row",
    body="VARCHAR: the last good JSON text; none if none was published",
)
ROW_VERSION = _table(
    "row_version",
    "Validity intervals of each served row's content.",
    ("row_id",),
    object="VARCHAR: catalog object",
    row_id="VARCHAR: row",
    from_seq="BIGINT: first publication with this version",
    to_seq="BIGINT: first publication without it; 2^53-1 while it holds",
    version="UBIGINT: first 64 bits of SHA-256 of the body",
    digest="UBIGINT: first 64 bits of SHA-256 of object|row_id|version",
)
ROW_BODY = _table(
    "row_body",
    "The JSON text of row versions, exactly as served; by itself, so that closing an interval moves no text.",
    object="VARCHAR: catalog object",
    row_id="VARCHAR: row",
    from_seq="BIGINT: the version's first publication",
    body="VARCHAR: JSON object",
)
VISIBILITY = _table(
    "visibility",
    "Validity intervals of rows in territories.",
    ("row_id",),
    territory="VARCHAR: territory row id",
    object="VARCHAR: catalog object",
    row_id="VARCHAR: row",
    from_seq="BIGINT: first publication in which the territory sees the row",
    to_seq="BIGINT: first publication in which it does not; 2^53-1 while it does",
)
TERRITORY_DELTA = _table(
    "territory_delta",
    "What each publication changed in each territory.",
    seq="BIGINT: publication",
    territory="VARCHAR: territory row id",
    object="VARCHAR: catalog object",
    row_id="VARCHAR: row",
    operation="VARCHAR: insert, update or delete",
)
TERRITORY_HEAD = _table(
    "territory_head",
    "Validity intervals of the size and digest of each object in each territory.",
    territory="VARCHAR: territory row id",
    object="VARCHAR: catalog object",
    from_seq="BIGINT: publication that made it so",
    to_seq="BIGINT: publication that made it otherwise; 2^53-1 while it holds",
    rows="BIGINT: visible rows",
    digest="UBIGINT: sum modulo 2^64 of their digests",
)
PUBLICATION = _table(
    "publication",
    "The publications: one row for each atomic step.",
    seq="BIGINT: strictly increasing by one",
    as_of="TIMESTAMP: everything that changed in the CRM up to this time is in",
    published_at="TIMESTAMP: when",
    territories="BIGINT: territories touched",
    inserted="BIGINT: rows entering a territory, counted per territory",
    updated="BIGINT: rows with new content, counted per territory",
    deleted="BIGINT: rows leaving a territory, counted per territory",
)
DOUBTFUL_READING = _table(
    "doubtful_reading",
    "Rows whose newest reading may be a fault of the answer: set aside, not in the snapshot, until it is decided.",
    ("row_id",),
    object="VARCHAR: catalog object",
    row_id="VARCHAR: row",
    evidence="VARCHAR: why it is doubtful: vanished, blanked, unknown target, unlinked, outdated, or moved",
    read_at="TIMESTAMP: when the answer was asked for, to the microsecond",
    held_since="TIMESTAMP: when the guard first held it; NULL while it is not held",
    weighed="BOOLEAN: whether the guard has looked at this reading",
)
DOUBTFUL_LOSS = _table(
    "doubtful_loss",
    "Rows that left a territory by a doubtful reading and were published: what the guard's window counts.",
    territory="VARCHAR: territory row id",
    object="VARCHAR: catalog object",
    row_id="VARCHAR: row",
    kind="VARCHAR: doubtful, or moved",
    lost_at="TIMESTAMP: when it was published",
    seq="BIGINT: the publication",
)
HELD_ROW = _table(
    "held_row",
    "Rows that are in a territory only because a reading is held, the children of such rows included.",
    territory="VARCHAR: territory row id",
    object="VARCHAR: catalog object",
    row_id="VARCHAR: row",
    evidence="VARCHAR: why its own reading is held; NULL for a row that stays with its parent",
    since="TIMESTAMP: when it was first held",
)
TERRITORY_HELD = _table(
    "territory_held",
    "Validity intervals of how many rows of each object are held in each territory.",
    territory="VARCHAR: territory row id",
    object="VARCHAR: catalog object",
    from_seq="BIGINT: publication that made it so",
    to_seq="BIGINT: publication that made it otherwise; 2^53-1 while it holds",
    rows="BIGINT: held rows",
    since="TIMESTAMP: when the first of them was held",
)
GUARD_DECISION = _table(
    "guard_decision",
    "What people decided about held rows, and why.",
    decided_at="TIMESTAMP: when",
    decision="VARCHAR: release or reject",
    territory="VARCHAR: territory row id; NULL where all territories were meant",
    object="VARCHAR: catalog object; NULL where all objects were meant",
    rows="BIGINT: rows whose reading was released, or is asked for again",
    reason="VARCHAR: the reason given",
    decided_by="VARCHAR: who",
)
ANNOUNCED_MOVE = _table(
    "announced_move",
    "Rows that are going to leave a territory, as announced: the guard lets them pass.",
    row_id="VARCHAR: row (an account)",
    source="VARCHAR: the territory it leaves",
    announced_at="TIMESTAMP: when",
    reason="VARCHAR: the reason given",
    target="VARCHAR: the territory it enters; NULL where it enters none",
)

FIXED_TABLES = (
    STATE, MODIFICATION_RECORDS, DELETED_ITEMS, READ_WINDOWS, READ_REQUESTS, TOUCHED, RAW_PAYLOADS, QUARANTINE,
    KEPT_CONTENT, ROW_VERSION, ROW_BODY, VISIBILITY, TERRITORY_DELTA, TERRITORY_HEAD, PUBLICATION,
    DOUBTFUL_READING, DOUBTFUL_LOSS, HELD_ROW, TERRITORY_HELD, GUARD_DECISION, ANNOUNCED_MOVE,
)  # fmt: skip


VANISHED = "vanished"
BLANKED = "blanked"
UNKNOWN_TARGET = "unknown target"
UNLINKED = "unlinked"
MOVED = "moved"
"""Why a reading is set aside, as the statement ``find_doubtful`` says as well."""
DOUBTFUL = "doubtful"
"""The schema with the contents of doubtful readings, in tables like the snapshot's."""
SCHEMAS = ("snapshot", DOUBTFUL)
PRESENT = "_state IN ('live', 'held')"
"""Of a row of a snapshot: it is served, and others hang on it."""


def snapshot_table(obj: CatalogObject, schema: str = "snapshot") -> Table:
    """The newest accepted state of each row of an object. Our own columns begin with an underscore."""
    columns = [Column("row_id", "VARCHAR", "the CRM's Id")]
    columns += [Column(name, SQL_TYPES[kind], f"CRM field, {kind.value}") for name, kind in obj.fields.items()]
    columns += [Column(name, SQL_TYPES[FieldType(kind)], "audit stamp") for name, kind in AUDIT_FIELDS.items()]
    columns += [
        Column("_state", "VARCHAR", "live, held (as live; its newest reading waits), deleted (proven) or lost"),
        Column("_merged_into", "VARCHAR", "the surviving row, after a merge"),
        Column("_content", "UBIGINT", "hash of all that was read, links too"),
        Column("_read_at", "TIMESTAMP", "when this state was asked for, to the microsecond"),
        Column("_reading", "BIGINT", "the number of the reading that began then; later ones are higher"),
    ]
    parents = dict.fromkeys(path.field for path in obj.visibility if path.through and path.field)
    return Table(
        f"{schema}.{quoted(obj.table)}",
        f"Newest state of each {obj.service} row.",
        tuple(columns),
        ("row_id", *parents),
    )


def link_table(obj: CatalogObject, schema: str = "snapshot") -> Table:
    """Links of an object's rows to parents; links once seen stay, marked, since a restore brings them back unseen."""
    return Table(
        f"{schema}.{quoted(obj.link_table)}",
        f"Links from {obj.service} rows to their parents.",
        (
            Column("row_id", "VARCHAR", "the row"),
            Column("list", "VARCHAR", "the child list the link was read from"),
            Column("parent_id", "VARCHAR", "the parent's id"),
            Column("live", "BOOLEAN", "whether the newest read still had it"),
        ),
        ("row_id", "parent_id"),
    )


def tables(catalog: Catalog) -> Iterator[Table]:
    """All tables of a warehouse for this catalog."""
    yield from FIXED_TABLES
    for obj in catalog:
        for schema in ("snapshot",) if obj.dimension else SCHEMAS:
            yield snapshot_table(obj, schema)
            if obj.links:
                yield link_table(obj, schema)
