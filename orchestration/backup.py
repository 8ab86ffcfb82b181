"""``python -m orchestration.backup``: copy the stores while the service serves, check a copy, go on from one."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from orchestration.pipeline.backup import BackupError, Manifest, create_backup, restore_backup, verify_backup
from orchestration.pipeline.warehouse import WarehouseBusyError, utc_now
from orchestration.settings import PipelineSettings, SettingsError

CURSORS_REFUSED = (
    "Devices' cursors from before are refused now: each device compares what it holds, and is put right.\n"
    "Run the job sync: it reads what changed in the CRM since the backup, and then replaces the delta store.\n"
)
CURSORS_GOOD = "Devices' cursors stay good. Start Dagster and the delta service.\n"


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0 done, 1 not possible (the message says why)."""
    options = _parser().parse_args(arguments)
    try:
        settings = PipelineSettings.from_environment()
        if options.command == "create":
            backup = create_backup(settings, options.folder, datetime.now(UTC))
            sys.stdout.write(f"{backup}: {_summary(Manifest.read(backup))}\n")
        elif options.command == "verify":
            sys.stdout.write(f"{options.backup} is good: {_summary(verify_backup(options.backup))}\n")
        else:
            replaced = restore_backup(settings, options.backup, utc_now(), nothing_lost=options.nothing_lost)
            if replaced is not None:
                sys.stdout.write(f"The warehouse that was here is kept as {replaced}.\n")
            sys.stdout.write(CURSORS_GOOD if options.nothing_lost else CURSORS_REFUSED)
    except (BackupError, SettingsError, WarehouseBusyError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m orchestration.backup", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="copy the stores of DELTA_HOME into a new folder")
    create.add_argument("folder", type=Path, help="where backups are kept; the copy gets a folder of its own in it")
    verify = commands.add_parser("verify", help="check a backup: sums, integrity, tables against a recompute")
    verify.add_argument("backup", type=Path, help="folder that 'create' named")
    restore = commands.add_parser("restore", help="put a backup's warehouse into DELTA_HOME")
    restore.add_argument("backup", type=Path, help="folder that 'create' named")
    restore.add_argument(
        "--nothing-lost",
        action="store_true",
        help="nothing was published after this backup (a move to another machine): cursors stay good",
    )
    return parser


def _summary(manifest: Manifest) -> str:
    size = sum(file.bytes for file in manifest.files.values())
    return f"publication {manifest.published_seq}, {', '.join(manifest.files)}, {size / 2**20:.1f} MiB"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
