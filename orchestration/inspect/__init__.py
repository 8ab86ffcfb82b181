"""Looking at publications, deltas, rows and territories, as pandas frames; nothing is ever written.

In a notebook::

    from orchestration import inspect
    inspect.publications()
    inspect.deltas("T001", since=12)
    inspect.contents("T001", at="2026-11-24T06:00:00Z", obj="account", bodies=True)

``inspect`` reads the warehouse, which only one process may have open: each call waits for a run to let go, reads, and
lets go itself. ``inspect.store`` answers the same questions, but for ``held`` and ``decisions``, from the delta store,
which can be read at any time. Times are UTC.
"""

from orchestration.inspect import store
from orchestration.inspect.moments import InspectError, Moment
from orchestration.inspect.warehouse import contents, decisions, deltas, held, history, publications

__all__ = ["InspectError", "Moment", "contents", "decisions", "deltas", "held", "history", "publications", "store"]
