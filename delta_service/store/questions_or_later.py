"""The SQL for a device that knows a time only: which rows lead to a view from the one at any publication since then."""

from __future__ import annotations

from functools import lru_cache

from delta_service.store.questions import Shape, among, newest, page_conditions

SEEN = """SELECT 1 FROM visibility AS seen WHERE seen.territory IN {territories}
    AND seen.object = {row}.object AND seen.row_key = {row}.row_key"""


@lru_cache(maxsize=256)
def delta_page_since_any(shape: Shape) -> str:
    """Rows that are visible now and entered or changed after ``:was``, and those visible at any moment since and not
    now. All territories are in both views; columns and order are those of :func:`questions.delta_page`.
    """
    page = page_conditions(shape)
    territories = among(("shared", shape.shared))

    def version(seq: str) -> str:
        seen = SEEN.format(territories=territories, row="candidate")
        return f"""CASE WHEN EXISTS ({seen} AND seen.from_seq <= :{seq} AND seen.to_seq > :{seq})
            THEN {newest(f"CASE WHEN to_seq > :{seq} THEN version END", "candidate", seq)} END"""

    seen = SEEN.format(territories=territories, row="state")
    of_row = "version.row_key = state.row_key AND version.from_seq <= :now AND version.to_seq > :was"
    # It has been in the view without a break if a territory sees it whenever another ceases to.
    gap = f"""{seen} AND seen.to_seq > :was AND seen.to_seq <= :now AND NOT EXISTS (
        SELECT 1 FROM visibility AS other WHERE other.territory IN {territories}
            AND other.object = state.object AND other.row_key = state.row_key
            AND other.from_seq <= seen.to_seq AND other.to_seq > seen.to_seq)"""
    changed = f"SELECT 1 FROM row_version AS version WHERE {of_row} AND version.from_seq > :was"
    # Intervals that overlap pairwise have a moment in common.
    was_visible = f"""{seen} AND seen.from_seq <= :now AND seen.to_seq > :was AND EXISTS (
        SELECT 1 FROM row_version AS version WHERE {of_row}
            AND version.from_seq < seen.to_seq AND version.to_seq > seen.from_seq)"""
    return f"""
        WITH candidate AS MATERIALIZED (
            SELECT DISTINCT object, row_key FROM visibility
            WHERE territory IN {territories} AND touched_seq > :was{page}),
        state AS MATERIALIZED (
            SELECT object, row_key, {version("was")} AS was_version, {version("now")} AS now_version FROM candidate),
        page AS MATERIALIZED (
            SELECT object, row_key, was_version, now_version FROM state
            WHERE CASE WHEN now_version IS NULL THEN EXISTS ({was_visible})
                ELSE was_version IS NULL OR EXISTS ({changed}) OR EXISTS ({gap}) END
            ORDER BY object, row_key LIMIT :limit)
        SELECT page.object, page.row_key, CASE WHEN now_version IS NOT NULL AND was_version IS NULL THEN 0 ELSE 1 END,
               now_version,
               CASE WHEN now_version IS NOT NULL THEN
                   (SELECT body FROM row_body WHERE body_key = {newest("body_key", "page", "now")}) END,
               row.row_id, row.merged_into,
               CASE WHEN row.key IS NOT NULL THEN
                   {newest("CASE WHEN to_seq > :now THEN 1 ELSE 0 END", "page", "now")} END
        FROM page
        LEFT JOIN row ON row.key = CASE WHEN now_version IS NULL THEN page.row_key END"""
