"""The incremental tables against a recompute from nothing and their own rules; the delta store against the tables."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

import duckdb
import orjson

from delta_service.store.changes import OPEN_SEQ
from delta_service.store.reader import DeltaStoreReader
from delta_service.store.schema import unsigned
from delta_service.store.views import View
from orchestration.pipeline.warehouse import newest_seq, scalar, statement

_VERSION = "('0x' || substr(sha256(body), 1, 16))::UBIGINT"


def differences(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Rows by which each published table differs from what the snapshots say; all zero when everything is right.

    Meaningful when nothing is waiting to be published.
    """
    visibility = f"SELECT territory, object, row_id FROM visibility WHERE to_seq = {OPEN_SEQ}"
    reach = statement("recompute_visibility")
    content = f"SELECT object, row_id, {_VERSION} FROM row_content"
    versions = f"SELECT object, row_id, version FROM row_version WHERE to_seq = {OPEN_SEQ}"
    heads = f"SELECT territory, object, rows, digest FROM territory_head WHERE to_seq = {OPEN_SEQ} AND rows > 0"
    recomputed_heads = statement("recompute_heads").replace("$open", str(OPEN_SEQ))
    stored_bodies = f"SELECT object, row_id, {_VERSION} FROM row_version JOIN row_body USING (object, row_id, from_seq)"
    return {
        "visibility missing": _excess(connection, reach, visibility),
        "visibility too much": _excess(connection, visibility, reach),
        "versions missing": _excess(connection, content, versions),
        "versions too much": _excess(connection, versions, content),
        "versions without their body": _excess(connection, versions, stored_bodies),
        "bodies that are not those of their version": scalar(connection, statement("wrong_bodies")),
        "heads missing": _excess(connection, recomputed_heads, heads),
        "heads too much": _excess(connection, heads, recomputed_heads),
        "visibility overlapping": scalar(connection, statement("overlapping_visibility")),
    }


def head_differences(connection: duckdb.DuckDBPyConnection, store: DeltaStoreReader) -> int:
    """Sizes and digests of territories' objects that the store does not have as the warehouse has them.

    A store behind the warehouse's newest publication counts as one more.
    """
    state = store.state(None)
    newest = newest_seq(connection)
    theirs = {
        (territory.id, name, total.rows, total.digest)
        for territory in state.territories.values()
        for name, total in zip(state.objects, territory.totals, strict=True)
        if total.rows
    }
    sql = f"SELECT territory, object, rows, digest FROM territory_head WHERE to_seq = {OPEN_SEQ} AND rows > 0"
    return len(theirs ^ set(connection.execute(sql).fetchall())) + (state.published_seq != newest)


def body_differences(store: DeltaStoreReader) -> int:
    """Versions in the store whose text is not what their number and digest say, or no JSON. Reads them all."""
    names = store.state(None).objects
    wrong = 0
    for row in store.texts():
        digest = hash64(f"{names[row.object]}|{row.row_id}|{unsigned(row.version):016x}".encode())
        told = unsigned(row.version), unsigned(row.digest)
        wrong += row.body is None or told != (hash64(row.body), digest) or not _is_json(row.body)
    return wrong


def row_differences(store: DeltaStoreReader, sample: int) -> dict[str, int]:
    """Of some territories of the store, the objects whose rows do not add up to the size and digest told of them."""
    state = store.state(None)
    chosen = random.sample(sorted(state.territories), min(sample, len(state.territories)))
    wrong = 0
    for territory in (state.territories[one] for one in chosen):
        rows: Counter[int] = Counter()
        digests: Counter[int] = Counter()
        view = View([territory.key], state.published_seq)
        for content in store.contents(view, [], generation=state.generation):
            rows[content.object] += 1
            digests[content.object] += unsigned(content.digest)
        found = [(rows[key], digests[key] % 2**64) for key in range(len(state.objects))]
        wrong += sum(one != (total.rows, total.digest) for one, total in zip(found, territory.totals, strict=True))
    return {"territories": len(chosen), "wrong": wrong}


def hash64(content: bytes) -> int:
    """The first 64 bits of SHA-256."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8])


def _is_json(body: bytes) -> bool:
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def _excess(connection: duckdb.DuckDBPyConnection, left: str, right: str) -> int:
    return scalar(connection, f"SELECT count(*) FROM (({left}) EXCEPT ({right}))")
