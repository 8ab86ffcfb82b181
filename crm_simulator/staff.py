"""Generated users and territories: a head of sales, regional managers and a representative for each territory."""

from __future__ import annotations

from collections.abc import Sequence

from crm_simulator import vocabulary as words
from crm_simulator.generated_rows import Rows
from crm_simulator.schema import OBJECTS


class Staff:
    """Adds them to ``rows``; ``quotas`` are amounts to choose from."""

    def __init__(self, rows: Rows, quotas: list[str]) -> None:
        self._rows = rows
        self._quotas = quotas

    def users(self) -> str:
        """The integration user and a head of sales, whose id is returned."""
        integration = self._user("Integration", "User", "INTEGRATION")
        self._rows.crm.integration_user = integration
        own = self._rows.by_object["User"][0]
        for name in ("CreatedById", "ModifiedById"):
            own.values[OBJECTS["User"].position[name]] = integration
        return self._user("Renée", "O'Connor", "ROCONNOR")

    def _user(self, first: str, last: str, alias: str, manager_id: str | None = None) -> str:
        return self._rows.add(
            "User",
            {
                "FirstName": first,
                "LastName": last,
                "Alias": alias,
                "UserSignInId": f"DEMO/{alias}",
                "EMailAddr": f"{alias.lower()}@demo.example",
                "Status": "Active",
                "TimeZoneId": "UTC",
                "ManagerId": manager_id,
            },
        )

    def territories(
        self, count: int, countries: Sequence[words.Country], manager_id: str
    ) -> list[tuple[words.Country, str | None, str]]:
        """Regions of territories each; returns country, territory and its representative for each one."""
        patches: list[tuple[words.Country, str | None, str]] = []
        region_id = regional_id = ""
        for number in range(count):
            country = countries[(number // 10) % len(countries)]
            if number % 10 == 0:
                region = f"R{number // 10 + 1:02}"
                region_id = self._territory(region, f"{country.name} {number // 10 // len(countries) + 1}", country)
                regional_id = self._representative(country, f"MGR{number // 10 + 1:02}", manager_id)
            city = country.cities[(number % 10 + 10 * (number // 10 // len(countries))) % len(country.cities)]
            name = f"T{number + 1:03}"
            description = f"{city} {self._rows.random.choice(words.PARTS_OF_TOWN)}"
            territory_id = self._territory(name, description, country, region_id)
            patches.append((country, territory_id, self._representative(country, f"REP{number + 1:03}", regional_id)))
        return patches

    def _territory(self, name: str, description: str, country: words.Country, parent_id: str | None = None) -> str:
        return self._rows.add(
            "Territory",
            {
                "TerritoryName": name,
                "Description": description,
                "CurrencyCode": country.currency,
                "CurrentQuota": self._rows.random.choice(self._quotas),
                "ParentTerritoryId": parent_id,
                "ExternalSystemId": f"ERP-{name}",
            },
        )

    def _representative(self, country: words.Country, alias: str, manager_id: str) -> str:
        choice = self._rows.random.choice
        return self._user(choice(country.first_names), choice(country.last_names), alias, manager_id)
