"""A broken catalog is refused with the line and the reason."""

from __future__ import annotations

import pytest

from orchestration.catalog import DEFAULT_PATH, CatalogError, load_catalog, parse_catalog

TEXT = DEFAULT_PATH.read_text(encoding="utf-8")


def test_the_shipped_catalog_serves_parents_before_children() -> None:
    catalog = load_catalog()
    assert [obj.name for obj in catalog.served] == ["account", "contact", "opportunity", "activity", "order"]
    assert catalog["contact"].parents == ("account",)
    assert catalog["account"].members["AccountName"] == "accountName"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("through: account", "through: acount", "unknown object acount"),
        ("through: account", "through: contact", "must stand before contact: no cycles"),
        ("through: account", "through: territory", "is a dimension"),
        ("field: AccountId", "field: AcountId", "AcountId must be among the fields"),
        ("territory_field: TerritoryId", "territory_field: Terr", "Terr must be among the fields"),
        ("Revenue: decimal", "Revenue: money", "Input should be"),
        ("    visibility:\n      - territory_field: TerritoryId\n", "", "no path to a territory"),
        ("service: Contact", "service: Account", "Account is already object account"),
        ("service: Contact", "servce: Contact", "Field required"),
        ("  contact:\n", "  Contact:\n", "object names are lower case"),
        ("  territory:\n", "  region:\n", "an object named `territory` with a name_field"),
        ("name_field: TerritoryName", "name_field: Name", "Name must be among the fields"),
        ("- territory_field: TerritoryId", "- {territory_field: TerritoryId, through: user}", "a path is one of"),
        ("- territory_field: TerritoryId", "- {territory_field: TerritoryId, field: Route}", "only a path through"),
        ("ContactType: string", "Id: string", "not a field that can be listed"),
        ("ContactType: string", "contactfirstName: string", "cannot tell it from its column ContactFirstName"),
        ("ContactType: string", "row_id: string", "cannot tell it from its column row_id"),
        ("ContactType: string", "modid: string", "cannot tell it from its column ModId"),
        ("  order:\n", "  contact_link:\n", "keeps the links of contact under this name"),
        ("objects:", "object:", "one mapping, `objects`"),
        ("service: Order", "service: [", "not valid YAML"),
    ],
)
def test_each_catalog_mistake_is_refused(old: str, new: str, reason: str) -> None:
    assert old in TEXT
    with pytest.raises(CatalogError, match=reason) as caught:
        parse_catalog(TEXT.replace(old, new, 1), source="objects.yaml")
    assert str(caught.value).startswith("objects.yaml:")


def test_the_error_names_the_line_of_the_mistake() -> None:
    broken = TEXT.replace("through: account", "through: acount", 1)
    line = broken.split("acount")[0].count("\n") + 1
    with pytest.raises(CatalogError, match=rf"objects\.yaml:{line}: objects\.contact\.visibility\.0\.through: "):
        parse_catalog(broken, source="objects.yaml")
