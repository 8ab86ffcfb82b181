"""Territories' surrogate keys and names."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

INSERT_TERRITORY = "INSERT INTO territory (key, id, name) VALUES (?, ?, NULL)"
SET_NAME = """INSERT INTO territory (id, name) VALUES (:id, :name)
    ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE territory.name IS DISTINCT FROM excluded.name"""
FORGET_NAME = "UPDATE territory SET name = NULL WHERE id = ?"


class TerritoryKeys:
    """Maps ids to keys within one write transaction; an id not seen before gets the next key."""

    def __init__(self, connection: apsw.Connection) -> None:
        self._connection = connection
        self._keys: dict[str, int] = dict(connection.execute("SELECT id, key FROM territory"))
        self._next = max(self._keys.values(), default=0) + 1

    def __getitem__(self, territory: str) -> int:
        key = self._keys.get(territory)
        if key is None:
            key, self._next = self._next, self._next + 1
            self._connection.execute(INSERT_TERRITORY, (key, territory))
            self._keys[territory] = key
        return key


def set_names(
    connection: apsw.Connection, territories: Sequence[tuple[str, str | None]], *, forget_others: bool = False
) -> None:
    """Add territories and set their names; ``forget_others`` takes the name from those not listed."""
    connection.executemany(SET_NAME, ({"id": id_, "name": name} for id_, name in territories))
    if forget_others:
        listed = {id_ for id_, _ in territories}
        named = [id_ for (id_,) in connection.execute("SELECT id FROM territory WHERE name IS NOT NULL")]
        connection.executemany(FORGET_NAME, ((id_,) for id_ in named if id_ not in listed))
