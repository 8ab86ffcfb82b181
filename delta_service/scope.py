"""Scopes: sets of territories, by id, in a canonical order."""

from __future__ import annotations

from collections.abc import Iterator

from delta_service.auth import Claims
from delta_service.problems import not_found, scope_denied
from delta_service.store.views import HeldRows, StoreState, Territory

Scope = tuple[str, ...]
EVERYTHING: Scope = ("*",)
"""All territories, now and later. Only insecure development has it; it keeps cursors short."""


def granted_scope(claims: Claims, state: StoreState) -> Scope:
    """Every territory the claims name; a name that no territory, or more than one, has grants nothing."""
    if claims.territories is None:
        return EVERYTHING
    found = {_id_of(name, state) for name in claims.territories}
    return tuple(sorted(id_ for id_ in found if id_ is not None))


def territory_scope(claims: Claims, territory: str, state: StoreState) -> Scope:
    """One territory, by id or name. Raises ``scope-denied``, or ``not-found`` for one that only the token knows."""
    id_ = _id_of(territory, state)
    if claims.territories is not None:
        names = {territory} if id_ is None else {id_, state.territories[id_].name}
        # The name counts only where it is unique; otherwise it may be meant for the other territory.
        names = {name for name in names if name is not None and _id_of(name, state) == id_}
        if not names & claims.territories:
            raise scope_denied()
    if id_ is None:
        raise not_found("The store has no such territory.")
    return (id_,)


def asked_scope(claims: Claims, territory: str | None, state: StoreState) -> Scope:
    """The scope of an address: one territory, or (None) all that the claims name."""
    return granted_scope(claims, state) if territory is None else territory_scope(claims, territory, state)


def keys_of(scope: Scope, state: StoreState) -> frozenset[int]:
    """The store's keys; a territory the store does not know sees nothing."""
    if scope == EVERYTHING:
        return frozenset(territory.key for territory in state.territories.values())
    return frozenset(state.territories[id_].key for id_ in scope if id_ in state.territories)


def touched_seq(scope: Scope, state: StoreState) -> int:
    """The newest publication that changed what the scope sees; 0 if none did."""
    return max((territory.touched_seq for territory in _territories(scope, state)), default=0)


def news_seq(scope: Scope, state: StoreState) -> int:
    """The newest publication that changed what the scope sees, or what of it is held; 0 if none did."""
    territories = _territories(scope, state)
    return max((max(territory.touched_seq, territory.held_seq) for territory in territories), default=0)


def held_rows(scope: Scope, state: StoreState) -> dict[str, HeldRows]:
    """What the guard holds of the scope, by object. A row that is held in two of its territories counts twice."""
    found: dict[int, HeldRows] = {}
    for territory in _territories(scope, state):
        for held in territory.held:
            known = found.get(held.object, held._replace(rows=0))
            found[held.object] = HeldRows(held.object, known.rows + held.rows, min(known.since, held.since))
    return {state.objects[key]: found[key] for key in sorted(found)}


def _territories(scope: Scope, state: StoreState) -> Iterator[Territory]:
    """Those of the scope that the store knows."""
    territories = state.territories.values() if scope == EVERYTHING else map(state.territories.get, scope)
    return (territory for territory in territories if territory is not None)


def _id_of(name: str, state: StoreState) -> str | None:
    return name if name in state.territories else state.ids_by_name.get(name)
