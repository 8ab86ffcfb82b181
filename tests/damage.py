"""Damage that disks, copies and people do to an SQLite file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import apsw

PAGE_BYTES = 4096


def _fold_log(store: Path) -> None:
    """Bring everything into the main file, so that what is damaged counts."""
    connection = apsw.Connection(str(store))
    connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    connection.close()


def emptied(store: Path) -> None:
    _fold_log(store)
    store.write_bytes(b"")


def truncated(store: Path) -> None:
    _fold_log(store)
    with store.open("rb+") as file:
        file.truncate(store.stat().st_size // 2 // PAGE_BYTES * PAGE_BYTES)


def cut_inside_the_header(store: Path) -> None:
    _fold_log(store)
    with store.open("rb+") as file:
        file.truncate(50)


def header_zeroed(store: Path) -> None:
    _fold_log(store)
    with store.open("rb+") as file:
        file.write(bytes(100))


def random_pages(store: Path) -> None:
    """Half of the pages, but not the first, which holds the header."""
    _fold_log(store)
    chance = Random(4)
    pages = range(1, store.stat().st_size // PAGE_BYTES)
    with store.open("rb+") as file:
        for page in chance.sample(pages, max(1, len(pages) // 2)):
            file.seek(page * PAGE_BYTES)
            file.write(chance.randbytes(PAGE_BYTES))


def value_overwritten(store: Path) -> None:
    """One letter of a row's text, where it lies in the file: SQLite has no checksums."""
    _fold_log(store)
    content = store.read_bytes()
    at = content.rindex(b'Id":"') + len(b'Id":"')
    with store.open("rb+") as file:
        file.seek(at)
        file.write(bytes([content[at] ^ 1]))


def table_lost(store: Path) -> None:
    connection = apsw.Connection(str(store))
    connection.execute("DROP TABLE head")
    connection.close()


DAMAGES: dict[str, Callable[[Path], None]] = {
    damage.__name__: damage
    for damage in (
        emptied, truncated, cut_inside_the_header, header_zeroed, random_pages, value_overwritten, table_lost,
    )
}  # fmt: skip
