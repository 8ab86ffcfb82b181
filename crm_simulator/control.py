"""The control API: look at the CRM from outside and change it as its users would. JSON, no authentication."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, get_args

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crm_simulator.actions import Delete, Insert, Link, Merge, Realign, Restore, Unlink, Update
from crm_simulator.bodies import Change
from crm_simulator.book_actions import AssignBooks, BookProcedure, TimedAssignment
from crm_simulator.bulk import Assign, BatchDelete, BatchUpdate, FinishAssignments, Import
from crm_simulator.crm import Crm
from crm_simulator.damage import Damage
from crm_simulator.event_log import ChildChange, PicklistEdit, RemoveEvents, WriteDeletedItem, WriteEvents
from crm_simulator.fault_table import BAD_CREDENTIALS, CASES, CODES
from crm_simulator.injection import FaultOrder, FaultScript, Kind
from crm_simulator.lookup import ChangeError, NoSuchRecordError
from crm_simulator.request_log import RequestLog
from crm_simulator.schema import OBJECTS, RECORD_TYPES
from crm_simulator.sessions import Sessions
from crm_simulator.settings_actions import Advance, Purge, SetLimits, Visibility
from crm_simulator.views import TerritoryCounts, records_view, search_view, summary_view

_CHANGES: dict[str, type[Change]] = {
    "realign": Realign,
    "update": Update,
    "insert": Insert,
    "delete": Delete,
    "restore": Restore,
    "merge": Merge,
    "link": Link,
    "unlink": Unlink,
    "import": Import,
    "batch/update": BatchUpdate,
    "batch/delete": BatchDelete,
    "assign": Assign,
    "assign/finish": FinishAssignments,
    "child": ChildChange,
    "events": WriteEvents,
    "events/remove": RemoveEvents,
    "deleted-items": WriteDeletedItem,
    "picklist": PicklistEdit,
    "books": AssignBooks,
    "books/timed": TimedAssignment,
    "books/procedure": BookProcedure,
}
_SETTINGS: dict[str, type[Advance | Purge | SetLimits | Visibility | Damage]] = {
    "clock": Advance,
    "purge": Purge,
    "limits": SetLimits,
    "visibility": Visibility,
    "damage": Damage,
}
Handler = Callable[[Request], Awaitable[Response]]
Body = TypeVar("Body", bound=BaseModel)


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def _error(status: int, message: str) -> Response:
    return _json({"error": message}, status)


def control_routes(crm: Crm, script: FaultScript, sessions: Sessions, log: RequestLog) -> list[Route]:
    """All routes under ``/control/``."""

    counts = TerritoryCounts(crm)

    def reading(view: Callable[[Request], Any]) -> Handler:
        async def handle(request: Request) -> Response:
            try:
                with crm.lock:
                    crm.settle()
                    return _json(view(request))
            except NoSuchRecordError as error:
                return _error(404, str(error))

        return handle

    def writing(model: type[Body], carry_out: Callable[[Body], Any]) -> Handler:
        async def handle(request: Request) -> Response:
            try:
                body = model.model_validate_json(await request.body() or b"{}")
                with crm.lock:
                    crm.settle()
                    return _json(carry_out(body))
            except ValidationError as error:
                return _error(400, _reasons(error))
            except NoSuchRecordError as error:
                return _error(404, str(error))
            except ChangeError as error:
                return _error(400, str(error))

        return handle

    def change(body: Change) -> dict[str, Any]:
        with crm.events_late(body.event_age_seconds, body.event_delay_seconds):
            touched = body.carry_out(crm)
        text = body.text(crm)
        crm.remember(text, touched)
        return {"action": text, "touched": touched.ids, "events": touched.events, "server_time": crm.now()}

    def set_up(body: Advance | Purge | SetLimits | Visibility | Damage) -> dict[str, Any]:
        return body.carry_out(crm)

    def records(request: Request) -> list[dict[str, Any]]:
        name = request.path_params["object"]
        if name not in OBJECTS:
            raise NoSuchRecordError(f"there is no object {name}; there are {', '.join(RECORD_TYPES)}")
        return records_view(crm, OBJECTS[name], request.query_params)

    def summary(request: Request) -> dict[str, Any]:
        return summary_view(crm, counts) | {"faults": script.pending}

    def order_fault(body: FaultOrder) -> dict[str, Any]:
        script.add(body)
        return {"pending": script.pending}

    def clear_faults(request: Request) -> dict[str, Any]:
        script.clear()
        return {"pending": script.pending}

    def show_faults(request: Request) -> dict[str, Any]:
        return {
            "pending": script.pending,
            "kinds": get_args(Kind),
            "codes": CODES,
            "cases": CASES,
            "languages": list(BAD_CREDENTIALS),
        }

    def requests(request: Request) -> list[dict[str, Any]]:
        return log.after(int(after) if (after := request.query_params.get("after", "")).isdecimal() else 0)

    def end_sessions(request: Request) -> dict[str, Any]:
        return {"ended": sessions.end_all()}

    get, post = ["GET"], ["POST"]
    return [
        Route("/control/summary", reading(summary), methods=get),
        Route("/control/search", reading(lambda request: search_view(crm, request.query_params)), methods=get),
        Route("/control/records/{object}", reading(records), methods=get),
        *(Route(f"/control/{path}", writing(model, change), methods=post) for path, model in _CHANGES.items()),
        *(Route(f"/control/{path}", writing(model, set_up), methods=post) for path, model in _SETTINGS.items()),
        Route("/control/faults", writing(FaultOrder, order_fault), methods=post),
        Route("/control/faults", reading(show_faults), methods=get),
        Route("/control/faults", reading(clear_faults), methods=["DELETE"]),
        Route("/control/requests", reading(requests), methods=get),
        Route("/control/sessions", reading(end_sessions), methods=["DELETE"]),
    ]


def _reasons(error: ValidationError) -> str:
    return "; ".join(
        ": ".join(filter(None, (".".join(map(str, entry["loc"])), entry["msg"].removeprefix("Value error, "))))
        for entry in error.errors()
    )
