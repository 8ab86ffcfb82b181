"""The SQL of the device's question: which rows differ between two views.

A view is what a set of territories sees at a publication: each row that one of them sees and that has content then.
Texts depend only on how many territories and objects are asked about, so that prepared statements are found again.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from delta_service.store.changes import OPEN_SEQ

# The newest version not after a publication; whether it still holds then is for the join to say.
_VERSION_AT = "(SELECT max(from_seq) FROM row_version WHERE row_version.row_key = {row}.row_key AND from_seq <= :{seq})"

FEW_TERRITORIES = 8


class Shape(NamedTuple):
    """How many keys of each kind a question names."""

    shared: int
    """Territories in both views."""
    lost: int
    """Territories in the earlier view only."""
    gained: int
    """Territories in the later view only."""
    objects: int
    """Objects asked about; 0 for all."""
    continued: bool
    """Whether the page begins after a row."""

    @property
    def alone(self) -> bool:
        """Whether both views are of one and the same territory."""
        return self.shared == 1 and not self.lost and not self.gained


def named(prefix: str, keys: Sequence[int]) -> dict[str, int]:
    """Parameters for the placeholders that :func:`among` writes."""
    return {f"{prefix}{position}": key for position, key in enumerate(keys)}


def among(*parts: tuple[str, int]) -> str:
    return "(" + ", ".join(f":{prefix}{position}" for prefix, count in parts for position in range(count)) + ")"


def page_conditions(shape: Shape) -> str:
    objects = f" AND object IN {among(('object', shape.objects))}" if shape.objects else ""
    return objects + (" AND (object, row_key) > (:after_object, :after_row)" if shape.continued else "")


@lru_cache(maxsize=256)
def snapshot_page(shape: Shape) -> str:
    """A page of the later view alone. For one territory the clustered key has the order already: nothing is sorted."""
    distinct = "DISTINCT" if shape.gained > 1 else ""
    return f"""
        SELECT page.object, page.row_key, 0, version.version, body.body, NULL, NULL, NULL
        FROM (SELECT {distinct} object, row_key FROM visibility
              WHERE territory IN {among(("gained", shape.gained))} AND from_seq <= :now AND to_seq > :now
              {page_conditions(shape)}
              ORDER BY object, row_key LIMIT :limit) AS page
        LEFT JOIN row_version AS version
          ON version.row_key = page.row_key AND version.from_seq = {_VERSION_AT.format(row="page", seq="now")}
          AND version.to_seq > :now
        LEFT JOIN row_body AS body ON body.body_key = version.body_key
        ORDER BY page.object, page.row_key"""


@lru_cache(maxsize=1024)
def delta_page(shape: Shape) -> str:
    """What differs, up to a page: the first rows in (object, row) order, but given in any order.

    Candidates are few: what was touched since, and what only one of the views could see. Materialised steps keep the
    planner from folding the parts into one scan of the territory, and values are looked up, not joined: bodies are
    found last and never sorted.
    """
    page = page_conditions(shape)
    arms = []
    if shape.shared:
        arms.append(f"territory IN {among(('shared', shape.shared))} AND touched_seq > :was")
    if shape.lost:
        arms.append(f"territory IN {among(('lost', shape.lost))} AND from_seq <= :was AND to_seq > :was")
    if shape.gained:
        arms.append(f"territory IN {among(('gained', shape.gained))} AND from_seq <= :now AND to_seq > :now")
    columns = "object, row_key, from_seq, to_seq"
    touched = " UNION ALL ".join(f"SELECT {columns} FROM visibility WHERE {arm}{page}" for arm in arms)

    def version(row: str, seq: str) -> str:
        return newest(f"CASE WHEN to_seq > :{seq} THEN version END", row, seq)

    return f"""
        WITH touched AS MATERIALIZED ({touched}),
        candidate AS MATERIALIZED ({_seen_by_one() if shape.alone else _seen_by_any(shape)}),
        state AS MATERIALIZED (
            SELECT object, row_key,
                   CASE WHEN was_seen = 1 THEN {version("candidate", "was")} END AS was_version,
                   CASE WHEN now_seen = 1 THEN {version("candidate", "now")} END AS now_version
            FROM candidate),
        page AS MATERIALIZED (
            SELECT object, row_key, was_version, now_version FROM state
            WHERE was_version IS DISTINCT FROM now_version
            ORDER BY object, row_key LIMIT :limit)
        SELECT page.object, page.row_key, CASE WHEN was_version IS NULL THEN 0 ELSE 1 END, now_version,
               CASE WHEN now_version IS NOT NULL THEN
                   (SELECT body FROM row_body WHERE body_key = {newest("body_key", "page", "now")}) END,
               row.row_id, row.merged_into,
               CASE WHEN row.key IS NOT NULL THEN
                   {newest("CASE WHEN to_seq > :now THEN 1 ELSE 0 END", "page", "now")} END
        FROM page
        LEFT JOIN row ON row.key = CASE WHEN now_version IS NULL THEN page.row_key END"""


def _seen_by_one() -> str:
    """Whether the only territory sees the candidates then and now: what is touched has all intervals that say so.

    An interval that holds then and was not touched since holds now, and has none of its row beside it.
    """

    def seen(seq: str) -> str:
        return f"max(CASE WHEN from_seq <= :{seq} AND to_seq > :{seq} THEN 1 ELSE 0 END) AS {seq}_seen"

    return f"SELECT object, row_key, {seen('was')}, {seen('now')} FROM touched GROUP BY object, row_key"


def _seen_by_any(shape: Shape) -> str:
    """The same where a row may be seen through several territories: some of the intervals are not touched.

    Few territories are looked into one by one; of many, the row's own intervals are fewer (the sign hides the
    territory from the planner, which would take the clustered key).
    """

    def seen(seq: str, *territories: tuple[str, int]) -> str:
        count = sum(count for _, count in territories)
        if not count:
            return f"0 AS {seq}_seen"
        sign = "+" if count > FEW_TERRITORIES else ""
        return f"""CASE WHEN EXISTS (
            SELECT 1 FROM visibility AS seen WHERE {sign}seen.territory IN {among(*territories)}
               AND seen.object = row.object AND seen.row_key = row.row_key
               AND seen.from_seq <= :{seq} AND seen.to_seq > :{seq}) THEN 1 ELSE 0 END AS {seq}_seen"""

    shared = ("shared", shape.shared)
    return f"""SELECT object, row_key, {seen("was", shared, ("lost", shape.lost))},
        {seen("now", shared, ("gained", shape.gained))} FROM (SELECT DISTINCT object, row_key FROM touched) AS row"""


def newest(value: str, row: str, seq: str) -> str:
    """A value of a row's newest version not after a publication."""
    return f"""(SELECT {value} FROM row_version
        WHERE row_version.row_key = {row}.row_key AND from_seq <= :{seq} ORDER BY from_seq DESC LIMIT 1)"""


@lru_cache(maxsize=16)
def reach(territories: int) -> str:
    """The publication after which few intervals of each territory were touched; 0 where few ever were."""
    each = """SELECT (SELECT touched_seq FROM visibility WHERE territory = :territory{}
        ORDER BY touched_seq DESC LIMIT 1 OFFSET :few) AS seq"""
    parts = " UNION ALL ".join(each.format(position) for position in range(territories))
    return f"SELECT coalesce(max(seq), 0) FROM ({parts}) AS reach"


class RecentSql(NamedTuple):
    """What is kept, back to a publication, of the rows that were touched since."""

    rows: str
    """(object, row_key, row_id, merged_into, body), in order."""
    intervals: str
    """(row_key, from_seq, to_seq)"""
    versions: str
    """(row_key, from_seq, to_seq, version)"""


@lru_cache(maxsize=16)
def recent(territories: int) -> RecentSql:
    """Cross joins are walked as they are written: from the few rows to what each of them has."""
    view = among(("territory", territories))
    touched = f"""(SELECT DISTINCT object, row_key FROM visibility
        WHERE territory IN {view} AND touched_seq > :since) AS touched"""
    body = newest("CASE WHEN to_seq > :now THEN body_key END", "touched", "now")
    oldest = _VERSION_AT.format(row="touched", seq="since")
    return RecentSql(
        f"""SELECT touched.object, touched.row_key, row.row_id, row.merged_into,
               (SELECT body FROM row_body WHERE body_key = {body})
            FROM {touched} CROSS JOIN row WHERE row.key = touched.row_key ORDER BY touched.object, touched.row_key""",
        f"""SELECT seen.row_key, seen.from_seq, seen.to_seq FROM {touched} CROSS JOIN visibility AS seen
            WHERE seen.territory IN {view} AND seen.object = touched.object AND seen.row_key = touched.row_key
              AND seen.to_seq > :since AND seen.from_seq <= :now""",
        f"""SELECT version.row_key, version.from_seq, version.to_seq, version.version
            FROM {touched} CROSS JOIN row_version AS version
            WHERE version.row_key = touched.row_key AND version.from_seq >= coalesce({oldest}, 0)
              AND version.from_seq <= :now
            LIMIT :limit""",
    )


@lru_cache(maxsize=256)
def totals(territories: int) -> str:
    """Rows and digest of a view, object by object. Digests are summed in halves: a sum of 64-bit numbers overflows."""
    return f"""
        SELECT seen.object, count(*), CAST(sum(version.digest & 4294967295) AS BIGINT),
               CAST(sum((version.digest >> 32) & 4294967295) AS BIGINT)
        FROM (SELECT DISTINCT object, row_key FROM visibility
              WHERE territory IN {among(("territory", territories))} AND from_seq <= :now AND to_seq > :now) AS seen
        JOIN row_version AS version
          ON version.row_key = seen.row_key AND version.from_seq = {_VERSION_AT.format(row="seen", seq="now")}
          AND version.to_seq > :now
        GROUP BY seen.object"""


@lru_cache(maxsize=256)
def contents(territories: int, objects: int) -> str:
    """All rows of a view without their bodies, in (object, row) order."""
    only = f" AND object IN {among(('object', objects))}" if objects else ""
    return f"""
        SELECT seen.object, seen.row_key, row.row_id, version.version, version.digest, version.body_key
        FROM (SELECT DISTINCT object, row_key FROM visibility
              WHERE territory IN {among(("territory", territories))} AND from_seq <= :now AND to_seq > :now{only}
              ORDER BY object, row_key) AS seen
        JOIN row_version AS version
          ON version.row_key = seen.row_key AND version.from_seq = {_VERSION_AT.format(row="seen", seq="now")}
          AND version.to_seq > :now
        JOIN row ON row.key = seen.row_key
        ORDER BY seen.object, seen.row_key"""


@lru_cache(maxsize=4)
def bodies(count: int) -> str:
    """Bodies by key."""
    return f"SELECT body_key, body FROM row_body WHERE body_key IN ({', '.join('?' * count)})"


META = """SELECT schema_version, epoch, cursor_key, generation, published_seq, horizon_seq, body_horizon_seq, as_of_us,
    (SELECT published_at_us FROM publication WHERE seq = published_seq) FROM meta"""
OBJECTS = "SELECT name FROM object ORDER BY key"
TERRITORIES = """SELECT key, id, name,
    coalesce((SELECT max(touched_seq) FROM visibility WHERE visibility.territory = territory.key), 0) FROM territory"""
# The newest totals of what changed since then.
HEADS = """SELECT head.territory, head.object, head.rows, head.digest
    FROM (SELECT territory.key AS territory, object.key AS object,
                 (SELECT max(seq) FROM head WHERE head.territory = territory.key AND head.object = object.key) AS seq
          FROM territory JOIN object ON true
          WHERE coalesce((SELECT max(touched_seq) FROM visibility WHERE visibility.territory = territory.key), 0)
             > :since) AS newest
    JOIN head ON head.territory = newest.territory AND head.object = newest.object AND head.seq = newest.seq"""
HELD = "SELECT territory, object, rows, since_us FROM held ORDER BY territory, object"
HEAD_AT = """SELECT rows, digest FROM head WHERE territory = :territory AND object = :object AND seq <= :now
    ORDER BY seq DESC LIMIT 1"""
PUBLICATION_AT = """SELECT seq FROM publication WHERE published_at_us <= ?
    ORDER BY published_at_us DESC, seq DESC LIMIT 1"""
PUBLICATIONS_MADE = """SELECT seq FROM publication WHERE published_at_us >= :start AND published_at_us < :end
    ORDER BY published_at_us DESC, seq DESC LIMIT 100"""
# What is known of the CRM moves on after a publication too, until the next: as_of never goes back.
PUBLICATIONS_AS_OF = """SELECT seq FROM
    (SELECT seq, as_of_us FROM publication
     WHERE seq >= coalesce((SELECT seq FROM publication WHERE as_of_us < :start ORDER BY seq DESC LIMIT 1), 0)
     ORDER BY seq LIMIT 100) AS stretch
    WHERE as_of_us < :end"""
PUBLICATION = "SELECT as_of_us, published_at_us FROM publication WHERE seq = ?"
ROW = "SELECT key, merged_into FROM row WHERE object = ? AND row_id = ?"
VERSIONS = "SELECT from_seq, to_seq, version, body_key IS NOT NULL FROM row_version WHERE row_key = ? ORDER BY from_seq"
INTERVALS = """SELECT territory.id, from_seq, to_seq
    FROM visibility JOIN territory ON territory.key = visibility.territory
    WHERE row_key = ? ORDER BY from_seq, territory.id"""
TEXTS = f"""SELECT version.row_key, version.from_seq, row.object, row.row_id, version.version, version.digest, body.body
    FROM row_version AS version
    JOIN row ON row.key = version.row_key
    LEFT JOIN row_body AS body ON body.body_key = version.body_key
    WHERE (version.row_key, version.from_seq) > (:row_key, :from_seq)
      AND (version.body_key IS NOT NULL OR version.to_seq = {OPEN_SEQ})
    ORDER BY version.row_key, version.from_seq LIMIT :limit"""
HORIZONS = "SELECT generation, published_seq, horizon_seq, body_horizon_seq FROM meta"
