"""Rows to bytes. Bodies are stored as served, so they are joined, not encoded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson

from delta_service.store.schema import unsigned
from delta_service.store.views import DeltaRow


@dataclass(frozen=True, slots=True)
class Form:
    """What the rows of an answer look like."""

    objects: tuple[str, ...]
    """Members of the answer, in order."""
    keys: tuple[int, ...]
    """The objects' keys in the store, in the same order."""
    versions: bool
    reasons: bool


@dataclass(slots=True)
class Counts:
    """Operations in a piece of an answer."""

    insert: int = 0
    update: int = 0
    deleted: int = 0

    def add(self, other: Counts) -> None:
        self.insert += other.insert
        self.update += other.update
        self.deleted += other.deleted


def json_body(rows: Sequence[DeltaRow], form: Form) -> bytes:
    """The whole answer: object -> insert, update, deleted."""
    lists: dict[int, tuple[list[bytes], list[bytes], list[bytes]]] = {key: ([], [], []) for key in form.keys}
    for row in rows:
        insert, update, deleted = lists[row.object]
        if row.body is None:
            deleted.append(_deletion(row, form))
        else:
            (update if row.was_visible else insert).append(_content(row, form))
    return b"{%s}" % b",".join(
        b'"%s":{"insert":[%s],"update":[%s],"deleted":[%s]}'
        % (name.encode(), *(b",".join(entries) for entries in lists[key]))
        for name, key in zip(form.objects, form.keys, strict=True)
    )


def with_envelope(body: bytes, sync: Mapping[str, object]) -> bytes:
    """The answer with a leading ``_sync`` member."""
    separator = b"," if len(body) > 2 else b""
    return b'{"_sync":' + orjson.dumps(sync) + separator + body[1:]


def ndjson_lines(rows: Sequence[DeltaRow], form: Form) -> bytes:
    """One operation a line."""
    names = dict(zip(form.keys, form.objects, strict=True))
    return b"".join(_lines(rows, names, form))


def counts_of(rows: Sequence[DeltaRow]) -> Counts:
    counts = Counts()
    for row in rows:
        if row.body is None:
            counts.deleted += 1
        elif row.was_visible:
            counts.update += 1
        else:
            counts.insert += 1
    return counts


def _lines(rows: Sequence[DeltaRow], names: Mapping[int, str], form: Form) -> Iterator[bytes]:
    for row in rows:
        name = names[row.object].encode()
        if row.body is None:
            yield b'{"object":"%s","op":"deleted",%s\n' % (name, _deletion(row, form)[1:])
        else:
            operation = b"update" if row.was_visible else b"insert"
            yield b'{"object":"%s","op":"%s","row":%s}\n' % (name, operation, _content(row, form))


def _content(row: DeltaRow, form: Form) -> bytes:
    assert row.body is not None
    if not form.versions:
        return row.body
    assert row.version is not None
    return b'%s,"_v":"%016x"}' % (row.body[:-1], unsigned(row.version))


def _deletion(row: DeltaRow, form: Form) -> bytes:
    entry = {"rowId": row.row_id}
    if form.reasons:
        if row.still_exists:
            entry["reason"] = "moved"
        elif row.merged_into is not None:
            entry |= {"reason": "merged", "into": row.merged_into}
        else:
            entry["reason"] = "deleted"
    return orjson.dumps(entry)
