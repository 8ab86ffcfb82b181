"""The control API: look at the CRM from outside and change it as its users would. JSON, no authentication."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crm_simulator import changes
from crm_simulator.actions import (
    Advance,
    Delete,
    Insert,
    Link,
    Merge,
    Realign,
    Restore,
    Unlink,
    Update,
)
from crm_simulator.crm import Crm, Touched
from crm_simulator.injection import FaultOrder, FaultScript
from crm_simulator.schema import OBJECTS, RECORD_TYPES
from crm_simulator.views import TerritoryCounts, records_view, search_view, summary_view

Handler = Callable[[Request], Awaitable[Response]]
Body = TypeVar("Body", bound=BaseModel)


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _error(status: int, message: str) -> Response:
    return _json({"error": message}, status)


def control_routes(crm: Crm, script: FaultScript) -> list[Route]:
    """All routes under ``/control/``."""

    counts = TerritoryCounts(crm)

    def reading(view: Callable[[Request], Any]) -> Handler:
        async def handle(request: Request) -> Response:
            try:
                with crm.lock:
                    return _json(view(request))
            except changes.NoSuchRecordError as error:
                return _error(404, str(error))

        return handle

    def writing(model: type[Body], carry_out: Callable[[Body], Any]) -> Handler:
        async def handle(request: Request) -> Response:
            try:
                body = model.model_validate_json(await request.body() or b"{}")
                with crm.lock:
                    return _json(carry_out(body))
            except ValidationError as error:
                return _error(400, _reasons(error))
            except changes.NoSuchRecordError as error:
                return _error(404, str(error))
            except changes.ChangeError as error:
                return _error(400, str(error))

        return handle

    def action(model: type[Any]) -> Handler:
        def carry_out(body: Any) -> dict[str, Any]:
            touched: Touched = body.carry_out(crm)
            text = body.text(crm)
            crm.remember(text, touched)
            return {"action": text, "touched": touched.ids, "events": touched.events, "server_time": crm.now()}

        return writing(model, carry_out)

    def records(request: Request) -> list[dict[str, Any]]:
        name = request.path_params["object"]
        if name not in OBJECTS:
            raise changes.NoSuchRecordError(f"there is no object {name}; there are {', '.join(RECORD_TYPES)}")
        return records_view(crm, OBJECTS[name], request.query_params)

    def summary(request: Request) -> dict[str, Any]:
        return summary_view(crm, counts) | {"faults": script.pending}

    def advance(body: Advance) -> dict[str, Any]:
        crm.clock.advance(body.advance_seconds)
        crm.purge()
        crm.remember(f"Clock advanced by {body.advance_seconds:g} s", Touched())
        return {"server_time": crm.now()}

    def order_fault(body: FaultOrder) -> dict[str, Any]:
        script.add(body)
        return {"pending": script.pending}

    def clear_faults(request: Request) -> dict[str, Any]:
        script.clear()
        return {"pending": script.pending}

    get, post = ["GET"], ["POST"]
    return [
        Route("/control/summary", reading(summary), methods=get),
        Route("/control/search", reading(lambda request: search_view(crm, request.query_params)), methods=get),
        Route("/control/records/{object}", reading(records), methods=get),
        Route("/control/realign", action(Realign), methods=post),
        Route("/control/update", action(Update), methods=post),
        Route("/control/insert", action(Insert), methods=post),
        Route("/control/delete", action(Delete), methods=post),
        Route("/control/restore", action(Restore), methods=post),
        Route("/control/merge", action(Merge), methods=post),
        Route("/control/link", action(Link), methods=post),
        Route("/control/unlink", action(Unlink), methods=post),
        Route("/control/clock", writing(Advance, advance), methods=post),
        Route("/control/faults", writing(FaultOrder, order_fault), methods=post),
        Route("/control/faults", reading(clear_faults), methods=["DELETE"]),
    ]


def _reasons(error: ValidationError) -> str:
    return "; ".join(
        ": ".join(filter(None, (".".join(map(str, entry["loc"])), entry["msg"].removeprefix("Value error, "))))
        for entry in error.errors()
    )
