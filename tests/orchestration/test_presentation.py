"""Metadata of assets: short enough for the UI to show inline, with links if the service is known."""

from __future__ import annotations

from urllib.parse import unquote

import dagster as dg
import duckdb
import pytest
from lxml import etree

from orchestration.assets import lineage
from orchestration.assets.links import ServiceLinks
from orchestration.assets.plots import INLINE_CHARACTERS, bars
from orchestration.assets.presentation import quarantined_rows, table
from orchestration.catalog import load_catalog
from orchestration.definitions import defs
from orchestration.pipeline.schema import QUARANTINE


def picture(series: dict[str, list[int]]) -> etree._Element:
    text = bars(series).md_str or ""
    assert text.startswith("![")
    return etree.fromstring(unquote(text.partition("(data:image/svg+xml,")[2].removesuffix(")")))


def test_a_plot_of_large_publications_fits_into_inline_metadata() -> None:
    large = bars({name: [9_999_999 - 777 * n for n in range(10)] for name in ("insert", "update", "delete")})
    assert len(large.md_str or "") <= INLINE_CHARACTERS
    assert len(bars({"new events": [9_999_999] * 24}).md_str or "") <= INLINE_CHARACTERS


def test_a_plot_has_a_bar_for_each_count_that_is_not_zero() -> None:
    root = picture({"insert": [0, 5, 2106], "delete": [1, 0, 0]})
    drawn = [path.get("d", "").count("M") for path in root.iterfind("{*}path") if path.get("stroke-width")]
    assert drawn == [2, 1]
    assert [text.text for text in root.iterfind("{*}text")] == ["insert", "delete", "max 2106"]


def test_a_plot_without_data_is_a_valid_picture() -> None:
    assert picture({"new events": []}) is not None


def test_a_long_table_is_cut_and_says_how_many_rows_are_missing() -> None:
    text = table("territory|rows", [(f"T{number:04}", number) for number in range(500)]).md_str or ""
    assert len(text) <= INLINE_CHARACTERS
    shown = text.count("| T")
    assert text.endswith(f"\n\n… and {500 - shown} more")


def test_numbers_are_right_aligned() -> None:
    assert table("territory|rows", [("T001", 5)]).md_str == "| territory | rows |\n|---|---:|\n| T001 | 5 |"


def test_links_open_the_device_page_and_the_explanation_of_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEVICE_SERVICE_URL", "https://sync.example/")
    links = ServiceLinks.from_environment()
    assert links.device("T 1", "1-A") == "[T 1](https://sync.example/device/?territory=1-A)"
    assert (
        links.explain("1-B", "1-A", "account", "1-B")
        == "[1-B](https://sync.example/v1/explain?territory=1-A&object=account&rowId=1-B)"
    )


def test_without_a_service_url_names_are_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEVICE_SERVICE_URL", raising=False)
    assert ServiceLinks.from_environment().device("T001", "1-A") == "T001"


def test_column_lineage_names_existing_columns_of_upstream_assets() -> None:
    graph = defs.resolve_asset_graph()
    seen = 0
    for key in graph.materializable_asset_keys:
        found = graph.get(key).metadata.get("dagster/column_lineage")
        if found is None:
            continue
        own = {column.name for column in graph.get(key).metadata["dagster/column_schema"].columns}
        assert isinstance(found, dg.TableColumnLineage)
        for column, sources in found.deps_by_column.items():
            assert column in own
            for source in sources:
                assert source.asset_key in graph.get(key).parent_keys
                schema = graph.get(source.asset_key).metadata["dagster/column_schema"]
                assert source.column_name in {one.name for one in schema.columns}, (key, column, source)
                seen += 1
    assert seen > 50


def test_a_snapshot_describes_how_its_rows_reach_a_territory() -> None:
    catalog = load_catalog()
    assert lineage.reach(catalog["account"]) == "A row reaches a territory by its own TerritoryId."
    assert "with its account, by AccountId or with each linked account" in lineage.reach(catalog["contact"])
    assert lineage.reach(catalog["user"]).startswith("Not served")


def test_quarantined_rows_are_listed_with_the_reason() -> None:
    catalog = load_catalog()
    with duckdb.connect() as connection:
        connection.execute(QUARANTINE.ddl)
        connection.execute(
            "INSERT INTO quarantine (object, row_id, field, reason, seen_at) VALUES"
            " ('contact', '1-C', 'LastUpdated', 'no date', TIMESTAMP '2026-11-24 06:00:00'),"
            " ('account', '1-A', 'AnnualRevenue', 'no decimal', TIMESTAMP '2026-11-24 06:00:01')"
        )
        text = quarantined_rows(connection, catalog["account"]).value
    assert str(text).endswith("| 1-A | AnnualRevenue | no decimal | 11-24 06:00:01 |")
    assert "1-C" not in str(text)
