"""The usual way to serve deltas: FastAPI, asyncpg, PostgreSQL. Runs in an environment of its own, see ``tools``.

Written with care: a pool, prepared statements (which asyncpg keeps), an index for the question, bodies stored as JSON
text, no model validation of what comes from the database, and one query a request.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import asyncpg
import jwt
from fastapi import Depends, FastAPI, HTTPException, Query, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

OBJECTS = ("account", "contact", "opportunity", "activity", "order")
SECRET = os.environ["REFERENCE_SECRET"]
CHANGES = """
    SELECT change.object, change.row_id, change.inserted_seq, change.deleted, change.changed_seq, record.body
    FROM territory_row AS change LEFT JOIN record USING (object, row_id)
    WHERE change.territory = $1 AND change.changed_seq > $2
    ORDER BY change.changed_seq LIMIT $3"""


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["REFERENCE_DATABASE"], min_size=4, max_size=4) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)
bearer = HTTPBearer()


def territories(credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> list[str]:
    try:
        claims = jwt.decode(credentials.credentials, SECRET, algorithms=["HS256"], audience="territory-delta")
    except jwt.PyJWTError:
        raise HTTPException(401) from None
    granted: list[str] = claims["territories"]
    return granted


@app.get("/v1/territories/{territory}/delta")
async def delta(
    territory: str,
    granted: Annotated[list[str], Depends(territories)],
    since: int = 0,
    limit: Annotated[int, Query(ge=1, le=50_000)] = 5_000,
) -> Response:
    if territory not in granted:
        raise HTTPException(403)
    rows = await app.state.pool.fetch(CHANGES, territory, since, limit)
    lists: dict[str, tuple[list[str], list[str], list[str]]] = {name: ([], [], []) for name in OBJECTS}
    for name, row_id, inserted_seq, deleted, _, body in rows:
        insert, update, gone = lists[name]
        if deleted:
            gone.append(f'{{"rowId":"{row_id}"}}')
        else:
            (insert if inserted_seq > since else update).append(body)
    members = (
        f'"{name}":{{"insert":[{",".join(insert)}],"update":[{",".join(update)}],"deleted":[{",".join(gone)}]}}'
        for name, (insert, update, gone) in lists.items()
    )
    cursor = str(rows[-1]["changed_seq"] if rows else since)
    body = "{" + ",".join(members) + "}"
    return Response(body, media_type="application/json", headers={"Sync-Cursor": cursor})
