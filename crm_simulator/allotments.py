"""The rows of the ServiceAllotment service: what the company may spend, and what is left of it."""

from __future__ import annotations

from crm_simulator.crm import Crm

_OPERATIONS = "Web Services Operations Allotment"
_CONCURRENT = "Web Services Concurrent Request Allotment"


def refresh_allotments(crm: Crm) -> None:
    """Bring the rows up to date; an allotment without a limit has neither value nor remainder."""
    limits = crm.meter.limits
    rows = (
        (_OPERATIONS, "Operations", limits.operations, crm.meter.used(crm.clock.now())),
        (_CONCURRENT, "Requests", limits.concurrent_requests, crm.meter.requests_under_way),
    )
    table = crm.tables["ServiceAllotment"]
    for name, unit, value, usage in rows:
        fields: dict[str, str | None] = {
            "Name": name,
            "DisplayName": name,
            "AllotmentType": "Web Services",
            "AllotmentUnit": unit,
            "Value": None if value is None else str(value),
            "CurrentUsage": str(usage),
            "RemainingUsage": None if value is None else str(max(0, value - usage)),
            "AlertEnabled": "false",
        }
        known = table.referring("Name", name)
        if known:
            crm.alter("ServiceAllotment", known[0], fields)
        else:
            crm.new_record("ServiceAllotment", fields)
