"""From a parsed call to its answer: which service handles which operation."""

from __future__ import annotations

from crm_simulator import faults, older_services
from crm_simulator.crm import Crm
from crm_simulator.damage import with_spoiled_rows
from crm_simulator.kinds import ObjectType
from crm_simulator.query import Finder
from crm_simulator.query_page import QueryPages
from crm_simulator.schema import OBJECTS
from crm_simulator.soap import Call
from crm_simulator.writes import Writes

_OPERATIONS: dict[str, tuple[ObjectType, str]] = {
    f"{kind.name}{operation}": (kind, operation)
    for kind in OBJECTS.values()
    if kind.top_level
    for operation in kind.operations
}


class Services:
    """All SOAP services of the CRM. Calls may come from any thread."""

    def __init__(self, crm: Crm) -> None:
        self._crm = crm
        self._queries = QueryPages(crm, Finder(crm))
        self._writes = Writes(crm)

    def answer(self, call: Call) -> str:
        """The answer envelope. Raises :class:`faults.SoapFault`."""
        with self._crm.lock:
            self._crm.settle()
            self._crm.meter.check_operations(self._crm.clock.now())
            if call.operation == "GetServerTime":
                return older_services.server_time(self._crm)
            if call.operation == "DeletedItemQueryPage":
                return older_services.deleted_items(self._crm, call.input)
            if call.operation == "EnableModificationTrackingReadAll":
                if call.credentials is None:
                    raise faults.missing_token()
                return older_services.tracked_objects(self._crm)
            if call.operation not in _OPERATIONS:
                raise faults.unavailable(call.operation)
            kind, operation = _OPERATIONS[call.operation]
            if operation == "QueryPage":
                return with_spoiled_rows(self._crm, self._queries.answer(kind, call.input, call.tagged))
            return self._writes.answer(kind, operation, call.input, call.tagged)
