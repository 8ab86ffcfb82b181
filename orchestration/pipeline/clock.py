"""How far the CRM's clock is believed, and where a window of the log must begin because of it.

A wrong time that is taken for a watermark skips events for good, and one that is too early only costs reading some
events again. So a time that its own answer's Date header contradicts moves no watermark, and a window begins before the
earliest time that may be meant. The host's clock is never a bound; it can only make a window longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from orchestration.crm.services import Clock
from orchestration.pipeline.warehouse import to_stored

TOLERANCE = timedelta(minutes=5)
WRONG_DATE = timedelta(days=1)
"""A clock further off is no clock: its day and month are swapped, or it was never set. Date is then taken alone."""
MOST_FALLEN_BACK = timedelta(days=1)


@dataclass(frozen=True)
class CrmTime:
    """The CRM's present time, UTC without zone, between two bounds; ``doubt`` says why it moves no watermark."""

    earliest: datetime
    latest: datetime
    doubt: str = ""


def believed(clock: Clock, watermark: datetime | None) -> CrmTime:
    """What a clock says, compared with the Date header of its own answer and with the last watermark."""
    earliest, latest = to_stored(clock.surely_past), to_stored(clock.now)
    if clock.date is not None:
        date = to_stored(clock.date)
        lead = earliest - date
        if abs(lead) > TOLERANCE:
            times = (date, date) if abs(lead) > WRONG_DATE else (min(earliest, date), max(latest, date))
            return CrmTime(*times, f"the CRM's clock is {_off(lead)} its answer's Date header")
    if watermark is not None and watermark - latest > TOLERANCE:
        return CrmTime(earliest, latest, f"the CRM's clock is {_off(latest - watermark)} the last watermark")
    return CrmTime(earliest, latest)


def fallen_back(lead_before: timedelta | None, lead: timedelta) -> timedelta:
    """How far the CRM's clock fell back against this host's since the last reading, whole seconds, a day at most.

    Seen from the CRM's clock alone, one that stepped back while nobody looked has not moved at all.
    """
    if lead_before is None or lead_before - lead <= TOLERANCE:
        return timedelta(0)
    return timedelta(seconds=int(min(lead_before - lead, MOST_FALLEN_BACK).total_seconds()))


def _off(lead: timedelta) -> str:
    return f"{abs(lead) // timedelta(seconds=1)} s {'ahead of' if lead > timedelta(0) else 'behind'}"
