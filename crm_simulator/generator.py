"""A deterministic data set of any size: the same seed and start give the same rows, byte by byte."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from crm_simulator import vocabulary as words
from crm_simulator.crm import Crm, Touched
from crm_simulator.generated_rows import Rows, Values
from crm_simulator.schema import OBJECTS
from crm_simulator.staff import Staff
from crm_simulator.values import stamp

_IMPORT_BATCH_ROWS = 200  # rows that one import gave the same stamps
_RECENT_EVENTS = 24


@dataclass(frozen=True)
class Mix:
    """Numbers of rows that an account may have, each as likely as the others."""

    contacts: Sequence[int] = (1, 2, 2, 3, 3, 4, 6)
    opportunities: Sequence[int] = (0, 0, 1, 1, 2, 3)
    activities: Sequence[int] = (1, 2, 3, 3, 4, 7)
    orders: Sequence[int] = (0, 1, 1, 2, 4)


DENSE = Mix()
SPARSE = Mix(contacts=(1, 2, 3), opportunities=(0, 0, 1), activities=(0, 0, 1), orders=(0, 0, 1))
"""Two contacts and one row of the other kinds an account, on average: for very large sets."""


def generate(crm: Crm, accounts: int, territories: int, seed: int, mix: Mix = DENSE) -> None:
    """Fill an empty CRM: about 14 rows an account (``SPARSE``: 6), with stamps spread over the year before its now."""
    _Generator(crm, seed, mix).run(accounts, territories)


class _Generator:
    def __init__(self, crm: Crm, seed: int, mix: Mix) -> None:
        self._crm = crm
        self._mix = mix
        self._seed = seed
        self._rows = Rows(crm, seed)
        self._random = self._rows.random
        self._dates = [(self._rows.now + timedelta(days=day)).date().isoformat() for day in range(-300, 200)]
        self._meetings = [self._meeting() for _ in range(2000)]
        self._amounts = [
            f"{self._random.randint(2, 900) * 500 + self._random.choice((0, 0.5, 0.25)):.2f}" for _ in range(500)
        ]

    def run(self, accounts: int, territories: int) -> None:
        staff = Staff(self._rows, self._amounts)
        manager_id = staff.users()
        patches = staff.territories(territories, words.countries(self._seed), manager_id)
        order_number = 100_000
        for number in range(accounts):
            if number % (_IMPORT_BATCH_ROWS // 4) == 0:
                self._rows.batch = self._random.choice(self._rows.stamps)
            country, territory_id, owner_id = self._random.choice(patches)
            if self._random.random() < 0.02:
                territory_id, owner_id = None, manager_id
            account = self._account(country, territory_id, owner_id)
            contacts = self._contacts(account, country, owner_id)
            opportunity_id = self._opportunities(account, country, contacts, owner_id)
            self._activities(account, contacts, opportunity_id, owner_id)
            for _ in range(self._random.choice(self._mix.orders)):
                order_number += 1
                self._order(account, country, opportunity_id, owner_id, order_number)
        self._rows.load()
        self._recent_changes()

    def _account(self, country: words.Country, territory_id: str | None, owner_id: str) -> Values:
        choice = self._random.choice
        kind = choice(words.ACCOUNT_TYPES)
        city = choice(country.cities)
        name = choice(country.naming[kind]).format(c=city, l=choice(country.last_names), m=choice(country.last_names))
        earlier = self._rows.by_object["Account"]
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
        self._rows.add("Account", values)
        return values

    def _contacts(self, account: Values, country: words.Country, owner_id: str) -> list[str]:
        choice = self._random.choice
        added: list[str] = []
        account_id, city = account["Id"], words.ascii_name(account["PrimaryBillToCity"] or "")
        for _ in range(self._random.choice(self._mix.contacts)):
            first, last = choice(country.first_names), choice(country.last_names)
            email = f"{words.ascii_name(first)}.{words.ascii_name(last)}@{city or 'praxis'}.example"
            contact_id = self._rows.add(
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
                other = choice(self._rows.by_object["Account"]).id
                if other != account_id:
                    self._link(contact_id, other, primary=False)
        position = OBJECTS["Account"].position["PrimaryContactId"]
        self._rows.by_object["Account"][-1].values[position] = added[0]
        return added

    def _link(self, contact_id: str, account_id: str | None, primary: bool) -> None:
        values: Values = {"ContactId": contact_id, "AccountId": account_id, "PrimaryAccount": str(primary).lower()}
        self._rows.add("ContactAccount", values | {"PrimaryContact": "false"})

    def _opportunities(self, account: Values, country: words.Country, contacts: list[str], owner_id: str) -> str | None:
        """The last one's id."""
        choice = self._random.choice
        last = None
        for _ in range(choice(self._mix.opportunities)):
            stage, status, probability = choice(words.SALES_STAGES)
            revenue = choice(self._amounts)
            name = choice(words.OPPORTUNITY_NAMES)
            last = self._rows.add(
                "Opportunity",
                {
                    "OpportunityName": name.format(
                        p=choice(words.PRODUCTS), q=choice(words.PRODUCTS), y=self._rows.now.year
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
        for _ in range(choice(self._mix.activities)):
            appointment = self._random.random() < 0.6
            start, end = choice(self._meetings) if appointment else (None, None)
            self._rows.add(
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
        self._rows.add(
            "Order",
            {
                "OrderNumber": f"ORD-{number}",
                "OrderId": f"ERP{number}",
                "OrderCreationDate": choice(self._rows.stamps),
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
        moments = sorted(stamp(self._rows.moment(4)) for _ in range(_RECENT_EVENTS))
        for moment in moments:
            name = self._random.choice(("Account", "Contact", "Opportunity", "Activity"))
            table = self._crm.tables[name]
            if not table.live_ids or name not in self._crm.tracked:
                continue
            record = table.records[self._random.choice(table.live_ids)]
            self._crm.touch(name, record, {"ModifiedDate": moment})
            self._crm.log(touched, "WriteRecordUpdated", name, record, at=moment)

    def _meeting(self) -> tuple[str, str]:
        start = (self._rows.now + timedelta(days=self._random.randint(-120, 60))).replace(
            hour=self._random.randint(7, 17), minute=self._random.choice((0, 15, 30, 45)), second=0
        )
        return stamp(start), stamp(start + timedelta(minutes=self._random.choice((15, 30, 60))))

    def _phone(self, country: words.Country) -> str:
        return f"{country.dialing_code} {self._random.randint(20, 999)} {self._random.randint(100_000, 9_999_999)}"
