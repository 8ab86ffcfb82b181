"""Finding records, and saying why a change is refused."""

from __future__ import annotations

from crm_simulator.crm import Crm
from crm_simulator.records import Record


class ChangeError(Exception):
    """The change is refused; the message says why."""


class NoSuchRecordError(ChangeError):
    """The record does not exist, or is deleted."""


def live_record(crm: Crm, object_name: str, id_: str) -> Record:
    """Raises :class:`NoSuchRecordError`."""
    record = crm.tables[object_name].live(id_)
    if record is None:
        raise NoSuchRecordError(f"there is no {object_name} {id_!r}, or it is deleted")
    return record
