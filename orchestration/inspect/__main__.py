"""``python -m orchestration.inspect``: publications, deltas, rows and territories on the command line; read-only."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from delta_service.store.errors import StoreError
from orchestration.inspect import InspectError, store, warehouse
from orchestration.pipeline.warehouse import WarehouseBusyError
from orchestration.settings import SettingsError

EXAMPLES = """examples:
  python -m orchestration.inspect publications --last 5
  python -m orchestration.inspect deltas T001 --since 12 --until 15
  python -m orchestration.inspect deltas T001 --since 2026-11-24T06:00:00Z --each
  python -m orchestration.inspect history account 1QA2-OD54E --bodies
  python -m orchestration.inspect contents T001 --at 12 --object account --bodies --format csv
  python -m orchestration.inspect held
  python -m orchestration.inspect held T001
"""


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0 done, 1 not possible (the message says why)."""
    options = _parser().parse_args(arguments)
    try:
        sys.stdout.write(_written(_asked(options), options.format))
    except WarehouseBusyError as error:
        sys.stderr.write(f"{error}\nOr ask the delta store, which can always be read: --source store\n")
        return 1
    except (InspectError, SettingsError, StoreError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _asked(options: argparse.Namespace) -> pd.DataFrame:
    if options.source == "store":
        return _of_store(options)
    where = {"file": options.file, "wait_seconds": options.wait}
    match options.question:
        case "publications":
            return warehouse.publications(options.last, **where)
        case "deltas":
            bounds = (options.since, options.until)
            return warehouse.deltas(options.territory, *bounds, each=options.each, bodies=options.bodies, **where)
        case "history":
            return warehouse.history(options.object, options.row_id, bodies=options.bodies, **where)
        case "contents":
            return warehouse.contents(options.territory, options.at, obj=options.object, bodies=options.bodies, **where)
        case "decisions":
            return warehouse.decisions(**where)
        case _:
            return warehouse.held(options.territory, **where)


def _of_store(options: argparse.Namespace) -> pd.DataFrame:
    match options.question:
        case "publications":
            return store.publications(options.last, file=options.file)
        case "deltas" if not options.each:
            bounds = (options.since, options.until)
            return store.deltas(options.territory, *bounds, bodies=options.bodies, file=options.file)
        case "history" if not options.bodies:
            return store.history(options.object, options.row_id, file=options.file)
        case "contents":
            seen = (options.territory, options.at)
            return store.contents(*seen, obj=options.object, bodies=options.bodies, file=options.file)
        case _:
            raise InspectError("only the warehouse can answer that: leave out --source store")


def _written(frame: pd.DataFrame, form: str) -> str:
    if form == "csv":
        return frame.to_csv(index=False)
    if form == "json":
        return frame.to_json(orient="records", date_format="iso", indent=2) + "\n"
    if frame.empty:
        return f"no rows ({', '.join(frame.columns)})\n"
    return frame.to_string(index=False, na_rep="") + f"\n{len(frame)} rows\n"


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--source", choices=["warehouse", "store"], default="warehouse", help="default: %(default)s")
    common.add_argument("--file", type=Path, help="a file other than that of DELTA_HOME, such as a backup's")
    common.add_argument("--format", choices=["table", "csv", "json"], default="table", help="default: %(default)s")
    common.add_argument(
        "--wait",
        type=float,
        default=warehouse.WAIT_SECONDS,
        metavar="SECONDS",
        help="how long to wait for a run that holds the warehouse (default: %(default)s)",
    )
    parser = argparse.ArgumentParser(
        prog="python -m orchestration.inspect",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    questions = parser.add_subparsers(dest="question", required=True)

    def question(name: str, meaning: str) -> argparse.ArgumentParser:
        return questions.add_parser(name, parents=[common], help=meaning, description=meaning)

    question("publications", "the newest publications").add_argument("--last", type=int, default=20, help="how many")
    deltas = question("deltas", "what changed in a territory between two moments (a publication's number, or a time)")
    deltas.add_argument("territory", help="id or name")
    deltas.add_argument("--since", default=0, help="default: 0, a device without anything")
    deltas.add_argument("--until", help="default: the newest publication")
    deltas.add_argument("--each", action="store_true", help="what each publication did, instead of the sum")
    history = question("history", "all versions of a row, and who saw it when")
    history.add_argument("object", help="the catalog's name, such as account")
    history.add_argument("row_id", help="the CRM's id")
    contents = question("contents", "the rows of a territory at a moment (a publication's number, or a time)")
    contents.add_argument("territory", help="id or name")
    contents.add_argument("--at", help="default: the newest publication")
    contents.add_argument("--object", help="of this object only")
    for parser_with_rows in (deltas, history, contents):
        parser_with_rows.add_argument("--bodies", action="store_true", help="with the rows' contents: personal data")
    held = question("held", "what the guard holds: counts, or the rows of one territory")
    held.add_argument("territory", nargs="?", help="id or name; default: counts of all")
    question("decisions", "what was released or rejected, by whom and why")
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
