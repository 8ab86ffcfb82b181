"""Files of the pipeline that cannot be written: said in words, with the file, whichever library met it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

_TROUBLES = (
    (errno.ENOSPC, "No space left on device", "the disk is full"),
    (errno.EDQUOT, "Disk quota exceeded", "the disk quota of this user is used up"),
    (errno.EROFS, "Read-only file system", "the file system is read-only"),
    (errno.EACCES, "Permission denied", "this user may not write there"),
)
"""Number, DuckDB's words, ours."""


class StorageError(RuntimeError):
    """A file of ours cannot be written. Nothing half done was kept."""


@contextmanager
def storage_named(path: Path) -> Iterator[None]:
    """Raise a full disk, a read-only file system and missing rights as :class:`StorageError`; ``path`` is written."""
    try:
        yield
    except (duckdb.Error, OSError) as error:
        trouble = _trouble_of(error)
        if trouble is None:
            raise
        where = getattr(error, "filename", None) or path
        raise StorageError(f"{where} cannot be written: {trouble}.") from error


def _trouble_of(error: BaseException | None) -> str | None:
    # What DuckDB raises last may only say that the database is no longer usable; the cause came before.
    while error is not None:
        for number, words, trouble in _TROUBLES:
            if getattr(error, "errno", None) == number or (isinstance(error, duckdb.Error) and words in str(error)):
                return trouble
        error = error.__cause__ or error.__context__
    return None
