"""A moment in the history of publications: a number, a time, or the newest."""

from __future__ import annotations

from datetime import UTC, datetime

import orjson
import pandas as pd

Moment = int | str | datetime | None
"""A publication's number, a time (ISO 8601; UTC where it names no zone), or ``None`` for the newest publication.

A time stands for the last publication made at or before it.
"""


class InspectError(ValueError):
    """The question cannot be answered; the message says why, or what to do."""


def parse_moment(moment: Moment) -> int | datetime | None:
    """A number or an aware time. Raises :class:`InspectError`."""
    if isinstance(moment, str):
        if moment.isdigit():
            return int(moment)
        try:
            moment = datetime.fromisoformat(moment)
        except ValueError:
            raise InspectError(f"{moment!r} is neither a publication's number nor a time") from None
    if isinstance(moment, datetime):
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return moment


def check_kept(seq: int, newest: int, horizon: int) -> int:
    """``seq``, if its view can still be told. Raises :class:`InspectError`."""
    if seq > newest:
        raise InspectError(f"publication {seq} has not been made: the newest is {newest}")
    if seq < horizon:
        raise InspectError(f"history before publication {horizon} is no longer kept")
    return seq


def with_bodies(frame: pd.DataFrame, *, bodies: bool, expand: bool) -> pd.DataFrame:
    """Without the texts; or with them; or with a column for each member, where all rows are of one object."""
    if not bodies:
        return frame.drop(columns="body")
    if not expand:
        return frame
    members = [orjson.loads(text) if isinstance(text, str) else {} for text in frame["body"]]
    return frame.drop(columns="body").join(pd.DataFrame(members, index=frame.index))
