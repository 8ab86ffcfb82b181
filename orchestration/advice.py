"""What a person should do about each error that can end a run: one table."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, cast

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError  # has no public name

from delta_service.store import errors as store
from orchestration.catalog import CatalogError
from orchestration.crm import errors as crm
from orchestration.pipeline import derive
from orchestration.pipeline.alignment_file import AlignmentFileError
from orchestration.pipeline.decisions import NothingHeldError
from orchestration.pipeline.rebuild import UnknownTerritoryError
from orchestration.pipeline.storage import StorageError
from orchestration.pipeline.warehouse import WarehouseBusyError
from orchestration.settings import SettingsError

_STORE_BROKEN = (
    "Run rebuild_delta_store: it replaces the delta store's content by the warehouse's. Devices keep working."
)

HELD = (
    "Devices keep these rows as they were; everything else is published. Look in the CRM whether the integration user"
    " still sees them. What comes back or is proven resolves by itself. Run release_held_publication with a reason if"
    " the loss is meant, or reject_held_publication once the CRM is mended: the rows are read again."
)

ADVICE: Mapping[type[BaseException], str] = {
    crm.ConfigurationError: "Mend the setting, WSDL or catalog that the message names, then restart the code server.",
    crm.CrmUnavailable: "Wait: the sensor tries again, in longer and longer steps, and the next sync reads the whole"
    " gap. If the pod is up, check CRMOD_URL and the network.",
    crm.CrmTooHeavy: "Run the job again: it goes on where it was. If it fails at the same object, read less at a time:"
    " lower CRMOD_SESSIONS, or run at a quieter hour.",
    crm.CrmAnswerError: "Run the job again. If it fails in the same way, run preflight, and ask the pod's"
    " administrators what stands between us and the pod (a proxy, a maintenance page).",
    crm.CrmRefused: "Run preflight: the request, the object catalog or the integration user's rights are at fault.",
    crm.CrmNoAccess: "Give the integration user's role access to the object, or take it out of the object catalog.",
    crm.CrmCredentialsError: "Set CRMOD_USERNAME and CRMOD_PASSWORD, restart the code server, then run sync. Do not"
    " run it before: accounts lock.",
    crm.CrmBudgetExhausted: "Wait until the allotment's 24 hours have moved on, or raise CRMOD_OPERATIONS_BUDGET; the"
    " next sync goes on where this run was.",
    crm.CrmError: "Run preflight: it says what the pod allows.",
    CatalogError: "Mend the object catalog at the line that the message names, then restart the code server.",
    SettingsError: "Set the environment variable that the message names to a value it allows, then restart.",
    NothingHeldError: "Open the check nothing_held of territory_deltas, or run python -m orchestration.inspect held,"
    " and name what it lists.",
    derive.NothingReadError: "Run full_load.",
    derive.ReadsPendingError: "Run the job again: it goes on there. If reads stay undone, run preflight.",
    WarehouseBusyError: "Let the other process end (or end it), then run again. The file needs no repair.",
    UnknownTerritoryError: "Correct the territories in the run config and launch again; a new one needs a sync first.",
    AlignmentFileError: "Correct the file at the line that the message names, and launch again.",
    StorageError: "Free space on the disk, or make DELTA_HOME writable for this user (a read-only file system must be"
    " mounted again), then run the job again: it goes on where it was.",
    store.StoreDamagedError: _STORE_BROKEN,
    store.StoreDiskFullError: "Free space on the disk that holds DELTA_HOME, then run the job again. A full copy needs"
    " as much again as the delta store takes.",
    store.StoreReadOnlyError: "Mount the file system of DELTA_HOME writable again, then run the job again.",
    store.StoreForbiddenError: "Give this user the right to read and write the delta store and its folder, then run the"
    " job again.",
    store.StoreUnavailableError: "Check that DELTA_HOME is the right folder and can be written, then run the job"
    " again; if it stays, run rebuild_delta_store.",
    store.StaleSeqError: "See that one pipeline only writes this store, then run sync; if it stays, run"
    " rebuild_delta_store.",
    store.StoreError: _STORE_BROKEN,
    DagsterAssetCheckFailedError: "Devices keep what they have. Open the check in the asset's page: its description"
    " says what to do.",
    dg.Failure: "Do what the message says, then launch the job again.",
    OSError: "Check the disk: is it full, and may this user write to DELTA_HOME? Then run the job again.",
}
NOTE = "What to do: "
UNKNOWN = (
    "This is not foreseen. Nothing half done was published; run the job again. If it fails again, keep the warehouse"
    " file and the run's log for whoever maintains the program."
)


def known_cause(error: BaseException | None) -> BaseException | None:
    """The first of an error and its causes, the innermost last, that the table knows better than as a failure."""
    chain = list(_chain(error))
    known = [one for one in chain if not isinstance(one, dg.Failure) and isinstance(one, tuple(ADVICE))]
    return known[0] if known else next((one for one in chain if isinstance(one, dg.Failure)), None)


def what_to_do(error: BaseException | type[BaseException] | None) -> str:
    """One sentence or two for a person."""
    kind = error if isinstance(error, type) else type(known_cause(error))
    return next((ADVICE[base] for base in kind.__mro__ if base in ADVICE), UNKNOWN)


P = ParamSpec("P")
R = TypeVar("R")


def advised(compute: Callable[P, R]) -> Callable[P, R]:
    """A step's function whose error says what to do, as its last line and as a line of the run's log.

    A failure hook would write an event for each step that did not fail: ten for each sync.
    """
    if inspect.isgeneratorfunction(compute):

        @functools.wraps(compute)
        def generator(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
            with _advice():
                yield from cast("Iterator[Any]", compute(*args, **kwargs))

        return cast("Callable[P, R]", generator)

    @functools.wraps(compute)
    def function(*args: P.args, **kwargs: P.kwargs) -> R:
        with _advice():
            return compute(*args, **kwargs)

    return function


@contextmanager
def _advice() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        advice = NOTE + what_to_do(error)
        error.add_note(advice)
        # A line of its own as well, which the run's filter finds.
        dg.get_dagster_logger().error(advice)
        raise


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
