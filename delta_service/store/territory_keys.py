"""Territories' surrogate keys and names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from delta_service.store.engine import WriteConnection

INSERT_TERRITORY = "INSERT INTO territory (key, id) VALUES (?, ?)"
SET_NAME = "UPDATE territory SET name = ? WHERE id = ?"


class TerritoryKeys:
    """Maps ids to keys within one write transaction. An id not seen before gets the next one, new until saved."""

    def __init__(self, connection: WriteConnection) -> None:
        self._connection = connection
        self._keys: dict[str, int] = dict(connection.execute("SELECT id, key FROM territory"))
        self._next = max(self._keys.values(), default=0) + 1
        self._new: list[tuple[int, str]] = []

    def __getitem__(self, territory: str) -> int:
        key = self._keys.get(territory)
        if key is None:
            key, self._next = self._next, self._next + 1
            self._new.append((key, territory))
            self._keys[territory] = key
        return key

    def save(self, territories: Iterable[str] = ()) -> None:
        """Write the new ones. ``territories`` are added too where they are not known."""
        for territory in territories:
            self[territory]
        self._connection.executemany(INSERT_TERRITORY, self._new)
        self._new = []


def set_names(
    connection: WriteConnection, territories: Sequence[tuple[str, str | None]], *, forget_others: bool = False
) -> None:
    """Add territories and set their names; ``forget_others`` takes the name from those not listed."""
    known: dict[str, str | None] = dict(connection.execute("SELECT id, name FROM territory"))
    if new := [id_ for id_, _ in territories if id_ not in known]:
        TerritoryKeys(connection).save(new)
    wanted = dict(territories)
    if forget_others:
        wanted = dict.fromkeys(known) | wanted
    connection.executemany(SET_NAME, [(name, id_) for id_, name in wanted.items() if name != known.get(id_)])
