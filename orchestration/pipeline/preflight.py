"""What the pod allows, before anything is loaded: access, clock, log and lists, as a report for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from orchestration.catalog import Catalog
from orchestration.crm.client import CrmClient
from orchestration.crm.errors import ConfigurationError, CrmCredentialsError, CrmError, CrmRefused
from orchestration.crm.queries import MODIFICATION_TRACKING, SERVICE_ALLOTMENT, Query, modified
from orchestration.pipeline.clock import believed
from orchestration.pipeline.markdown import table_lines
from orchestration.pipeline.warehouse import to_stored

SCARCE_SHARE = 0.25


class Verdict(StrEnum):
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True)
class Finding:
    """One thing looked at, and what an operator should do about it."""

    subject: str
    verdict: Verdict
    said: str


def preflight(crm: CrmClient, catalog: Catalog, now: datetime, watermark: datetime | None = None) -> list[Finding]:
    """Costs about two operations an object. ``watermark``: the last run's, if there was one, for the CRM's clock.

    Raises :class:`CrmError` only where nothing can be asked at all.
    """
    for obj in catalog:
        crm.check(obj)
    findings = [_clock(crm, now, watermark)]
    findings += [_object(crm, catalog, name) for name in (obj.name for obj in catalog)]
    findings += [_log(crm, catalog, now), _deleted_items(crm, now), _allotment(crm)]
    return findings


def as_markdown(findings: list[Finding]) -> str:
    """A table, the worst first."""
    order = {Verdict.BAD: 0, Verdict.WARNING: 1, Verdict.GOOD: 2}
    ranked = sorted(findings, key=lambda finding: order[finding.verdict])
    return "\n".join(table_lines("what|verdict|found", [(f.subject, f.verdict, f.said) for f in ranked]))


def _clock(crm: CrmClient, now: datetime, watermark: datetime | None) -> Finding:
    clock = crm.clock()
    skew = clock.now - now
    if doubt := believed(clock, None if watermark is None else to_stored(watermark)).doubt:
        said = f"{doubt}: no sync moves its watermark. See to the CRM's time, and that the user's locale is English-US"
        return Finding("clock", Verdict.BAD, said)
    if clock.surely_past != clock.now:
        said = f"zone with daylight saving, off by {clock.now - clock.surely_past}: set the user's time zone to UTC"
        return Finding("clock", Verdict.WARNING, said)
    if clock.offset:
        return Finding("clock", Verdict.WARNING, f"user's time zone is {clock.offset} off UTC: set it to UTC")
    return Finding("clock", Verdict.GOOD, f"UTC, {skew.total_seconds():+.0f} s against this machine")


def _object(crm: CrmClient, catalog: Catalog, name: str) -> Finding:
    obj = catalog[name]

    def look() -> Finding:
        count = crm.count(Query(obj))
        seen = "rows cannot be counted" if count is None else f"{count} rows in sight"
        if count == 0:
            return Finding(obj.service, Verdict.WARNING, "no rows in sight: is the user's role allowed to see them?")
        return Finding(obj.service, Verdict.GOOD, seen)

    return _asked(obj.service, look)


def _log(crm: CrmClient, catalog: Catalog, now: datetime) -> Finding:
    """Whether the log has events of the tracked objects: an object nobody enabled is silent for ever."""

    def look() -> Finding:
        lately = modified(now - timedelta(days=30))
        silent = []
        for obj in catalog:
            about = f"({lately}) AND ([ObjectName] = '{obj.service}')"
            if obj.tracked and not obj.dimension and not crm.count(Query(MODIFICATION_TRACKING, about)):
                silent.append(obj.service)
        if silent:
            said = f"no events in 30 days about {', '.join(silent)}: is Modification Tracking on for them?"
            return Finding("Modification Tracking", Verdict.WARNING, said)
        return Finding("Modification Tracking", Verdict.GOOD, "events about every tracked object")

    return _asked("Modification Tracking", look)


def _deleted_items(crm: CrmClient, now: datetime) -> Finding:
    def look() -> Finding:
        count = len(crm.deleted_items(since=now.astimezone(UTC) - timedelta(days=1)))
        return Finding("Deleted Items", Verdict.GOOD, f"{count} entries of the last day (or no access: see the log)")

    return _asked("Deleted Items", look)


def _allotment(crm: CrmClient) -> Finding:
    """What is left of the company's operations; all its integrations share them."""

    def look() -> Finding:
        rows = [row.values for page in crm.read(Query(SERVICE_ALLOTMENT)) for row in page.rows]
        for row in rows:
            if "Operations" in str(row["Name"]):
                if row["RemainingUsage"] is None:
                    return Finding("allotment", Verdict.GOOD, f"no limit of operations; used: {row['CurrentUsage']}")
                left, value = float(str(row["RemainingUsage"])), float(str(row["Value"]))
                verdict = Verdict.GOOD if left >= value * SCARCE_SHARE else Verdict.WARNING
                return Finding("allotment", verdict, f"{left:.0f} of {value:.0f} operations are left in this day")
        return Finding("allotment", Verdict.WARNING, "the list names no operations: ask Oracle for the value")

    try:
        return look()
    except (CrmRefused, ConfigurationError) as error:
        said = f"cannot be read (it takes the privilege Manage Company): set CRMOD_OPERATIONS_BUDGET. {error}"
        return Finding("allotment", Verdict.WARNING, said)


def _asked(subject: str, look: Callable[[], Finding]) -> Finding:
    try:
        return look()
    except CrmCredentialsError:
        raise
    except CrmError as error:
        return Finding(subject, Verdict.BAD, str(error))
