"""The rows in which a view and a device differ, within the buckets that do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from delta_service.buckets import bucket_of
from delta_service.problems import bad_request
from delta_service.store.reader import DeltaStoreReader
from delta_service.store.schema import unsigned
from delta_service.store.views import Content, DeltaRow, View


class TooManyRowsError(Exception):
    """More rows differ than one answer may hold."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a device holds of one object in some buckets."""

    buckets: frozenset[int]
    versions: Mapping[str, str]
    """Row id to version, as 16 hex digits."""


def differing_rows(
    reader: DeltaStoreReader, view: View, held: Mapping[int, Held], *, generation: str, max_rows: int
) -> list[DeltaRow]:
    """Operations that turn what is held (by the object's key) into the view, in those buckets.

    Raises TooManyRowsError, the 400 problem for a row outside the buckets, and what the reader raises.
    """
    for part in held.values():
        if any(bucket_of(row_id) not in part.buckets for row_id in part.versions):
            raise bad_request("body-invalid", "A row in versions is in none of the buckets in differing.")
    keys = [key for key, part in held.items() if part.buckets]
    gone = {key: set(part.versions) for key, part in held.items()}
    wanted: list[Content] = []
    for content in reader.contents(view, keys, generation=generation) if keys else ():
        part = held[content.object]
        if bucket_of(content.row_id) not in part.buckets:
            continue
        gone[content.object].discard(content.row_id)
        if part.versions.get(content.row_id) != f"{unsigned(content.version):016x}":
            wanted.append(content)
    if len(wanted) > max_rows:
        raise TooManyRowsError
    rows = [
        DeltaRow(
            content.object, content.row_key, content.row_id in held[content.object].versions,
            content.version, body, None, None, None,
        )
        for content, body in zip(wanted, reader.bodies(wanted, view.seq, generation=generation), strict=True)
    ]  # fmt: skip
    # Nothing is said of why: the device names these rows, and they may never have been its to know about.
    rows += [DeltaRow(key, 0, 1, None, None, id_, None, None) for key in sorted(gone) for id_ in sorted(gone[key])]
    return rows
