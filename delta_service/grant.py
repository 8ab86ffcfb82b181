"""``GET /cache/grant``: lets an HTTP cache in front of the service share one answer among devices of a territory.

A cache may not judge tokens. It asks here, with the caller's ``Authorization`` and the address in ``X-Original-URI``,
which territory the caller may read there. The answer of a territory's delta depends on nothing else about the caller,
so the cache keys it by that territory. Without a grant the cache lets the request through, and the service itself
refuses or answers.
"""

from __future__ import annotations

from delta_service.answers import Answer
from delta_service.auth import Authenticator
from delta_service.problems import ProblemError
from delta_service.scope import territory_scope
from delta_service.scoped_request import scoped_route
from delta_service.store.views import StoreState

GRANT_PATH = "/cache/grant"


async def grant_answer(
    original_uri: str,
    authorization: bytes | None,
    client: tuple[str, int] | None,
    authenticator: Authenticator,
    state: StoreState,
) -> Answer:
    """An empty answer: with the territory's id in ``Sync-Grant``, or without that header where there is no grant."""
    raw_path = original_uri.partition("?")[0]
    route = scoped_route({"path": raw_path, "raw_path": raw_path.encode("latin-1")})
    if route is None or route[0] != "delta" or route[1] is None:
        return Answer(200)
    try:
        claims = await authenticator.authenticate(authorization, client)
        (territory,) = territory_scope(claims, route[1], state)
    except ProblemError:
        return Answer(200)
    return Answer(200, [(b"sync-grant", territory.encode("ascii", "backslashreplace"))])
