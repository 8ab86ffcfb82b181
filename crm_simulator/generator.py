"""A deterministic data set of any size: the same seed and start give the same rows, byte by byte."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from crm_simulator import vocabulary as words
from crm_simulator.crm import Crm, Touched
from crm_simulator.records import Record
from crm_simulator.schema import OBJECTS
from crm_simulator.values import stamp

_IMPORT_BATCH_ROWS = 200  # rows that one import gave the same stamps
_RECENT_EVENTS = 24
Values = dict[str, str | None]


def generate(crm: Crm, accounts: int, territories: int, seed: int) -> None:
    """Fill an empty CRM: about 14 rows an account, with stamps spread over the year before the CRM's now."""
    _Generator(crm, seed).run(accounts, territories)


class _Generator:
    def __init__(self, crm: Crm, seed: int) -> None:
        self._crm = crm
        self._random = random.Random(seed)  # noqa: S311 - made to be repeatable
        self._now = crm.clock.now()
        self._countries = words.countries(seed)
        self._rows: dict[str, list[Record]] = {name: [] for name in OBJECTS}
        self._stored = {name: [field.name for field in kind.stored] for name, kind in OBJECTS.items()}
        self._batch = ""
        moments = sorted(self._moment(365) for _ in range(4000))
        self._stamps = [stamp(moment) for moment in moments]
        self._dates = [(self._now + timedelta(days=day)).date().isoformat() for day in range(-300, 200)]
        self._meetings = [self._meeting() for _ in range(2000)]
        self._amounts = [
            f"{self._random.randint(2, 900) * 500 + self._random.choice((0, 0.5, 0.25)):.2f}" for _ in range(500)
        ]

    def run(self, accounts: int, territories: int) -> None:
        manager_id = self._users()
        patches = self._territories(territories, manager_id)
        order_number = 100_000
        for number in range(accounts):
            if number % (_IMPORT_BATCH_ROWS // 4) == 0:
                self._batch = self._random.choice(self._stamps)
            country, territory_id, owner_id = self._random.choice(patches)
            if self._random.random() < 0.02:
                territory_id, owner_id = None, manager_id
            account = self._account(country, territory_id, owner_id)
            contacts = self._contacts(account, country, owner_id)
            opportunity_id = self._opportunities(account, country, contacts, owner_id)
            self._activities(account, contacts, opportunity_id, owner_id)
            for _ in range(self._random.choice((0, 1, 1, 2, 4))):
                order_number += 1
                self._order(account, country, opportunity_id, owner_id, order_number)
        for name, rows in self._rows.items():
            self._crm.tables[name].load(rows)
        self._crm.version += 1
        self._recent_changes()

    def _add(self, object_name: str, values: Values) -> str:
        rows = self._rows[object_name]
        created = self._batch
        # Most rows are as an import left them; the others were changed later.
        modified = created
        number = "0"
        if self._random.random() < 0.3:
            modified = max(created, self._random.choice(self._stamps))
            number = str(self._random.randint(1, 9))
        id_ = next(self._crm.ids)
        user = self._crm.integration_user
        values |= {
            "Id": id_,
            "ModId": number,
            "CreatedDate": created,
            "CreatedById": user,
            "ModifiedDate": modified,
            "ModifiedById": user,
        }
        rows.append(Record(id_, [values.get(name) for name in self._stored[object_name]]))
        return id_

    def _users(self) -> str:
        """The integration user and a head of sales, whose id is returned."""
        self._batch = self._stamps[0]
        integration = self._user("Integration", "User", "INTEGRATION")
        self._crm.integration_user = integration
        own = self._rows["User"][0]
        for name in ("CreatedById", "ModifiedById"):
            own.values[OBJECTS["User"].position[name]] = integration
        return self._user("Renée", "O'Connor", "ROCONNOR")

    def _user(self, first: str, last: str, alias: str, manager_id: str | None = None) -> str:
        return self._add(
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

    def _territories(self, count: int, manager_id: str) -> list[tuple[words.Country, str | None, str]]:
        """Regions of about ten territories each; returns country, territory and its representative for each one."""
        patches: list[tuple[words.Country, str | None, str]] = []
        region_id = regional_id = ""
        for number in range(count):
            country = self._countries[(number // 10) % len(self._countries)]
            if number % 10 == 0:
                region = f"R{number // 10 + 1:02}"
                region_id = self._territory(
                    region, f"{country.name} {number // 10 // len(self._countries) + 1}", country
                )
                regional_id = self._representative(country, f"MGR{number // 10 + 1:02}", manager_id)
            city = country.cities[(number % 10 + 10 * (number // 10 // len(self._countries))) % len(country.cities)]
            name = f"T{number + 1:03}"
            description = f"{city} {self._random.choice(words.PARTS_OF_TOWN)}"
            territory_id = self._territory(name, description, country, region_id)
            patches.append((country, territory_id, self._representative(country, f"REP{number + 1:03}", regional_id)))
        return patches

    def _territory(self, name: str, description: str, country: words.Country, parent_id: str | None = None) -> str:
        return self._add(
            "Territory",
            {
                "TerritoryName": name,
                "Description": description,
                "CurrencyCode": country.currency,
                "CurrentQuota": self._random.choice(self._amounts),
                "ParentTerritoryId": parent_id,
                "ExternalSystemId": f"ERP-{name}",
            },
        )

    def _representative(self, country: words.Country, alias: str, manager_id: str) -> str:
        choice = self._random.choice
        return self._user(choice(country.first_names), choice(country.last_names), alias, manager_id)

    def _account(self, country: words.Country, territory_id: str | None, owner_id: str) -> Values:
        choice = self._random.choice
        kind = choice(words.ACCOUNT_TYPES)
        city = choice(country.cities)
        name = choice(country.naming[kind]).format(c=city, l=choice(country.last_names), m=choice(country.last_names))
        earlier = self._rows["Account"]
        parent = choice(earlier).id if earlier and self._random.random() < 0.05 else None
        values: Values = {
            "AccountName": name,
            "Location": city if self._random.random() < 0.9 else None,
            "AccountType": kind,
            "Status": choice(words.ACCOUNT_STATUSES),
            "Priority": choice(words.PRIORITIES),
            "Region": country.name,
            "Industry": choice(words.INDUSTRIES),
            "MainPhone": self._phone(country),
            "CallFrequency": choice(words.CALL_FREQUENCIES),
            "Route": f"Route {self._random.randint(1, 12)}" if self._random.random() < 0.7 else None,
            "CurrencyCode": country.currency,
            "PrimaryBillToStreetAddress": choice(country.streets),
            "PrimaryBillToPostalCode": choice(country.postcodes),
            "PrimaryBillToCity": city,
            "PrimaryBillToCountry": country.name,
            "ParentAccountId": parent,
            "OwnerId": owner_id,
            "TerritoryId": territory_id,
            "ReassignOwnerFlag": "false",
        }
        self._add("Account", values)
        return values

    def _contacts(self, account: Values, country: words.Country, owner_id: str) -> list[str]:
        choice = self._random.choice
        added: list[str] = []
        account_id, city = account["Id"], words.ascii_name(account["PrimaryBillToCity"] or "")
        for _ in range(self._random.choice((1, 2, 2, 3, 3, 4, 6))):
            first, last = choice(country.first_names), choice(country.last_names)
            email = f"{words.ascii_name(first)}.{words.ascii_name(last)}@{city or 'praxis'}.example"
            contact_id = self._add(
                "Contact",
                {
                    "ContactFirstName": first,
                    "ContactLastName": last,
                    "ContactEmail": email if self._random.random() < 0.8 else None,
                    "JobTitle": choice(words.JOB_TITLES[account["AccountType"] or "Practice"]),
                    "ContactType": choice(words.CONTACT_TYPES),
                    "WorkPhone": account["MainPhone"],
                    "CellularPhone": self._phone(country) if self._random.random() < 0.4 else None,
                    "Private": "false",
                    "AccountId": account_id,
                    "ManagerId": added[0] if added and self._random.random() < 0.3 else None,
                    "OwnerId": owner_id,
                },
            )
            added.append(contact_id)
            self._link(contact_id, account_id, primary=True)
            if self._random.random() < 0.1:
                other = choice(self._rows["Account"]).id
                if other != account_id:
                    self._link(contact_id, other, primary=False)
        position = OBJECTS["Account"].position["PrimaryContactId"]
        self._rows["Account"][-1].values[position] = added[0]
        return added

    def _link(self, contact_id: str, account_id: str | None, primary: bool) -> None:
        values: Values = {"ContactId": contact_id, "AccountId": account_id, "PrimaryAccount": str(primary).lower()}
        self._add("ContactAccount", values | {"PrimaryContact": "false"})

    def _opportunities(self, account: Values, country: words.Country, contacts: list[str], owner_id: str) -> str | None:
        """The last one's id."""
        choice = self._random.choice
        last = None
        for _ in range(choice((0, 0, 1, 1, 2, 3))):
            stage, status, probability = choice(words.SALES_STAGES)
            revenue = choice(self._amounts)
            name = choice(words.OPPORTUNITY_NAMES)
            last = self._add(
                "Opportunity",
                {
                    "OpportunityName": name.format(
                        p=choice(words.PRODUCTS), q=choice(words.PRODUCTS), y=self._now.year
                    ),
                    "SalesStage": stage,
                    "Status": status,
                    "Priority": choice(words.PRIORITIES),
                    "CurrencyCode": country.currency,
                    "Revenue": revenue,
                    "ExpectedRevenue": choice(self._amounts) if status == "Pending" else revenue,
                    "Probability": probability,
                    "CloseDate": choice(self._dates) if self._random.random() < 0.9 else None,
                    "AccountId": account["Id"],
                    "KeyContactId": choice(contacts) if self._random.random() < 0.7 else None,
                    "OwnerId": owner_id,
                },
            )
        return last

    def _activities(self, account: Values, contacts: list[str], opportunity_id: str | None, owner_id: str) -> None:
        choice = self._random.choice
        for _ in range(choice((1, 2, 3, 3, 4, 7))):
            appointment = self._random.random() < 0.6
            start, end = choice(self._meetings) if appointment else (None, None)
            self._add(
                "Activity",
                {
                    "Subject": choice(words.SUBJECTS).format(p=choice(words.PRODUCTS)),
                    "Activity": "Appointment" if appointment else "Task",
                    "Type": choice(words.ACTIVITY_TYPES),
                    "SubType": "Face to Face" if appointment else None,
                    "CallType": choice(words.CALL_TYPES) if appointment else None,
                    "Status": choice(words.ACTIVITY_STATUSES),
                    "Priority": choice(words.PRIORITIES),
                    "Private": choice(("false", "false", "false", "true")),
                    "StartTime": start,
                    "EndTime": end,
                    "DueDate": None if appointment else choice(self._dates),
                    "AccountId": account["Id"],
                    "PrimaryContactId": choice(contacts) if self._random.random() < 0.8 else None,
                    "OpportunityId": opportunity_id if self._random.random() < 0.3 else None,
                    "OwnerId": owner_id,
                },
            )

    def _order(
        self, account: Values, country: words.Country, opportunity_id: str | None, owner_id: str, number: int
    ) -> None:
        choice = self._random.choice
        self._add(
            "Order",
            {
                "OrderNumber": f"ORD-{number}",
                "OrderId": f"ERP{number}",
                "OrderCreationDate": choice(self._stamps),
                "OrderCreationStatus": choice(words.ORDER_STATUSES),
                "CurrencyCode": country.currency,
                "BusinessAccountId": account["Id"],
                "OpportunityId": opportunity_id if self._random.random() < 0.4 else None,
                "OwnerId": owner_id,
            },
        )

    def _recent_changes(self) -> None:
        """A handful of saves over the last days, with their events: the log does not start empty."""
        touched = Touched()
        moments = sorted(stamp(self._moment(4)) for _ in range(_RECENT_EVENTS))
        for moment in moments:
            name = self._random.choice(("Account", "Contact", "Opportunity", "Activity"))
            table = self._crm.tables[name]
            if not table.live_ids or name not in self._crm.tracked:
                continue
            record = table.records[self._random.choice(table.live_ids)]
            self._crm.touch(name, record, {"ModifiedDate": moment})
            self._crm.log(touched, "WriteRecordUpdated", name, record, at=moment)

    def _moment(self, days: int) -> datetime:
        """A time in the last ``days`` days, at least a minute ago."""
        return self._now - timedelta(seconds=self._random.randint(60, days * 86_400))

    def _meeting(self) -> tuple[str, str]:
        start = (self._now + timedelta(days=self._random.randint(-120, 60))).replace(
            hour=self._random.randint(7, 17), minute=self._random.choice((0, 15, 30, 45)), second=0
        )
        return stamp(start), stamp(start + timedelta(minutes=self._random.choice((15, 30, 60))))

    def _phone(self, country: words.Country) -> str:
        return f"{country.dialing_code} {self._random.randint(20, 999)} {self._random.randint(100_000, 9_999_999)}"
