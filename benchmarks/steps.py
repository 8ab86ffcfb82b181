"""``steps``: time and peak memory of what is done to stores of size L, each step in a process of its own."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path

import duckdb

from benchmarks.changes import change_some, move_a_tenth
from benchmarks.cost import Cost, cost, peak_memory_mib, reset_peak_memory
from benchmarks.data import CACHE, CATALOG, LARGE, NO_GUARD, NOW, load_snapshots
from benchmarks.results import Measurement
from benchmarks.serving.servers import delta_service
from benchmarks.serving.store import ServedStore
from delta_service.store.reader import DeltaStoreReader
from delta_service.store.views import Position, View
from delta_service.store.writer import DeltaStoreWriter
from orchestration.pipeline.compact import Retention, compact
from orchestration.pipeline.derive import derive
from orchestration.pipeline.replicate import replicate
from orchestration.pipeline.warehouse import open_warehouse

PAGE_ROWS = 5_000
LATER = NOW + timedelta(days=500)

Step = Callable[[Path], tuple[Cost, int]]


def steps() -> list[Measurement]:
    """In order, from an empty folder on: each step finds what the ones before have left."""
    found: list[Measurement] = []
    with tempfile.TemporaryDirectory(prefix="run-steps-", dir=CACHE) as name:
        folder = Path(name)
        for what, step in STEPS.items():
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                spent, peak_mib = process.submit(step, folder).result()
            found.append(Measurement(what, "s", [spent.seconds], "", []))
            found.append(Measurement(what, "CPU s", [spent.cpu_seconds], "", []))
            found.append(Measurement(what, "MiB at its peak", [peak_mib], "", []))
        for file in sorted(folder.glob("*.duckdb")) + sorted(folder.glob("*.sqlite")):
            found.append(Measurement(f"{file.name} at last", "MiB", [file.stat().st_size / 2**20], "", []))
    return found


def _measured(work: Callable[[], object]) -> tuple[Cost, int]:
    reset_peak_memory()
    return cost(work), peak_memory_mib()


def _snapshots(folder: Path) -> tuple[Cost, int]:
    with _warehouse(folder) as connection:
        return _measured(lambda: load_snapshots(connection, LARGE))


def _first_derivation(folder: Path) -> tuple[Cost, int]:
    with _warehouse(folder) as connection:
        return _derived(connection)


def _replication(folder: Path) -> tuple[Cost, int]:
    with _warehouse(folder) as connection, DeltaStoreWriter(folder / "delta.sqlite") as writer:
        return _measured(lambda: replicate(connection, CATALOG, writer))


def _derivation_of_moves(folder: Path) -> tuple[Cost, int]:
    with _warehouse(folder) as connection:
        move_a_tenth(connection, 0)
        return _derived(connection)


def _derivation_of_a_trickle(folder: Path) -> tuple[Cost, int]:
    with _warehouse(folder) as connection:
        change_some(connection, 0)
        return _derived(connection)


def _derived(connection: duckdb.DuckDBPyConnection) -> tuple[Cost, int]:
    return _measured(lambda: derive(connection, CATALOG, as_of=NOW, now=NOW, guard=NO_GUARD))


def _snapshot(folder: Path) -> tuple[Cost, int]:
    reader = DeltaStoreReader(folder / "delta.sqlite")
    state = reader.state(None)
    key = next(iter(state.territories.values())).key

    def read() -> None:
        after: Position | None = None
        while True:
            _, after = reader.page(
                View((), state.published_seq),
                View((key,), state.published_seq),
                (),
                generation=state.generation,
                limit=PAGE_ROWS,
                after=after,
            )
            if after is None:
                return

    spent = _measured(read)
    reader.close()
    return spent


def _startup(folder: Path) -> tuple[Cost, int]:
    started = time.perf_counter()
    with delta_service(ServedStore(folder, (), "", b"")) as server:
        return Cost(time.perf_counter() - started, server.cpu_seconds()), server.peak_kib() // 1024


def _compaction(folder: Path) -> tuple[Cost, int]:
    """All that the re-alignment and the trickle superseded is beyond the horizon."""
    with _warehouse(folder) as connection, DeltaStoreWriter(folder / "delta.sqlite") as writer:

        def fold() -> None:
            horizons = compact(connection, Retention(), LATER)
            writer.prune(horizons.history_seq, horizons.body_seq)

        return _measured(fold)


def _warehouse(folder: Path) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    return open_warehouse(folder / "warehouse.duckdb", CATALOG, 1)


STEPS: dict[str, Step] = {
    "snapshots of all rows, in SQL": _snapshots,
    "first publication: derivation": _first_derivation,
    "replication from nothing": _replication,
    "re-alignment of a tenth: derivation": _derivation_of_moves,
    "re-alignment of a tenth: publication": _replication,
    "200 changed rows: derivation": _derivation_of_a_trickle,
    "200 changed rows: publication": _replication,
    "snapshot of one territory": _snapshot,
    "service, from start to ready": _startup,
    "compaction of both stores": _compaction,
}
