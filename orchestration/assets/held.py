"""The check and the run tag that tell of held rows, for the asset that publishes and for jobs that do so themselves."""

from __future__ import annotations

import dagster as dg
import duckdb

from orchestration.advice import HELD
from orchestration.assets.links import ServiceLinks
from orchestration.assets.policy import HELD_TAG
from orchestration.assets.presentation import table
from orchestration.pipeline.held import HeldTerritory, held_territories
from orchestration.tenancy import asset_key

TERRITORIES_NAMED = 5
NOTHING_HELD = dg.AssetCheckSpec(
    "nothing_held",
    asset=asset_key("territory_deltas"),
    description="No row is kept on devices because its newest reading is doubtful. Everything else is published.",
)


def nothing_held(connection: duckdb.DuckDBPyConnection) -> dg.AssetCheckResult:
    """To be asked after derivation."""
    held = held_territories(connection)
    metadata: dict[str, dg.MetadataValue] = {
        "held_rows": dg.MetadataValue.int(sum(one.held_rows for one in held)),
        "held_territories": dg.MetadataValue.int(len(held)),
    }
    if held:
        first = min(one.since for one in held)
        metadata["held_since"] = dg.MetadataValue.text(f"{first:%Y-%m-%d %H:%M:%S} UTC")
        metadata["held"] = _held_table(held)
        metadata["sample"] = _sample_table(held)
    return dg.AssetCheckResult(
        passed=not held,
        severity=dg.AssetCheckSeverity.ERROR,
        asset_key=NOTHING_HELD.asset_key,
        check_name=NOTHING_HELD.name,
        metadata=metadata,
        description=_description(held) if held else None,
    )


def tag_held(context: dg.OpExecutionContext | dg.AssetExecutionContext, result: dg.AssetCheckResult) -> None:
    """On the run: how many rows are held."""
    if not result.passed:
        context.instance.add_run_tags(context.run_id, {HELD_TAG: str(result.metadata["held_rows"].value)})


def tell_held(context: dg.OpExecutionContext | dg.AssetExecutionContext, result: dg.AssetCheckResult) -> None:
    """Log the check's result and set the tag, in a job that is not the asset's own."""
    evaluation = dg.AssetCheckEvaluation(
        asset_key=NOTHING_HELD.asset_key,
        check_name=NOTHING_HELD.name,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
    )
    context.log_event(evaluation)  # type: ignore[arg-type]  # taken, but the annotation does not say so
    tag_held(context, result)


def _description(held: list[HeldTerritory]) -> str:
    said = [one.sentence for one in held[:TERRITORIES_NAMED]]
    if len(held) > TERRITORIES_NAMED:
        said.append(f"and {len(held) - TERRITORIES_NAMED} more territories")
    return f"{'; '.join(said)}. {HELD}"


def _held_table(held: list[HeldTerritory]) -> dg.MetadataValue:
    links = ServiceLinks.from_environment()
    return table(
        "territory|held since (UTC)|rows held|of|why|would go to",
        [
            (
                links.device(one.called, one.territory),
                f"{one.since:%Y-%m-%d %H:%M}",
                one.held_rows,
                one.rows,
                one.why,
                one.targets or "nowhere",
            )
            for one in held
        ],
    )


def _sample_table(held: list[HeldTerritory]) -> dg.MetadataValue:
    links = ServiceLinks.from_environment()
    return table(
        "territory|object|row|all about it",
        [
            (
                one.name or one.territory,
                obj,
                links.explain(row_id, one.territory, obj, row_id),
                f"`python -m orchestration.inspect history {obj} {row_id}`",
            )
            for one in held
            for obj, row_id in one.sample
        ],
    )
