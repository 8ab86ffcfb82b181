"""All names of this process's definitions that Dagster keeps for the whole instance; ``python -m`` prints them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import dagster as dg

from orchestration.definitions import defs
from orchestration.partitions import territories


def instance_wide_names() -> dict[str, list[str]]:
    """By kind; jobs and code locations, which are kept apart by themselves, as well."""
    graph = defs.resolve_asset_graph()
    nodes = [graph.get(key) for key in graph.get_all_asset_keys()]
    jobs = [job for job in defs.get_repository_def().get_all_jobs() if not job.name.startswith("__")]
    pools = {pool for node in nodes for pool in node.pools or ()}
    operations = [node.definition for job in jobs for node in job.nodes]
    pools |= {one.pool for one in operations if isinstance(one, dg.OpDefinition) and one.pool}
    return {
        "assets": [key.to_user_string() for key in graph.get_all_asset_keys()],
        "checks": [f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys],
        "pools": sorted(pools),
        "partitions": [str(territories.name)],
        "lineage": sorted({source.asset_key.to_user_string() for node in nodes for source in sources(node.metadata)}),
        "locations": sorted({job.run_tags.get(".dagster/repository", "") for job in jobs}),
        "jobs": sorted(job.name for job in jobs),
    }


def sources(metadata: Mapping[str, object]) -> Iterator[dg.TableColumnDep]:
    """Columns that the columns of an asset come from."""
    lineage = metadata.get("dagster/column_lineage")
    if isinstance(lineage, dg.TableColumnLineage):
        for dependencies in lineage.deps_by_column.values():
            yield from dependencies


if __name__ == "__main__":
    print(json.dumps(instance_wide_names()))  # noqa: T201
