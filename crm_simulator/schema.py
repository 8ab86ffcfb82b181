"""The objects the simulated CRM has: their fields and types, how they refer to each other, and what follows from it.

Everything else (WSDLs, query answers, cascades, generated data) is derived from :data:`OBJECTS`. Values are kept as
the text that goes on the wire; None is a blank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

QUERY_PAGE_ROWS = 10
MAX_PAGE_ROWS = 100


@dataclass(frozen=True)
class Path:
    """How a joined field is found: the ``field`` values, space separated, of the ``object`` that ``key`` names."""

    key: str
    object: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Field:
    """One element of a row.

    ``type`` is an XSD type. ``ref`` names the object whose id the field holds. ``join`` marks a field that is read
    through a reference and changes with it, without a trace on this row. ``stamp`` (id field, date field) marks the
    CRM's "Full Name, date" texts.
    """

    name: str
    type: str = "string"
    ref: str | None = None
    join: Path | None = None
    stamp: tuple[str, str] | None = None

    @property
    def stored(self) -> bool:
        return self.join is None and self.stamp is None


@dataclass(frozen=True)
class ChildList:
    """A list element of a row: ``rows`` of object ``target`` whose ``key`` field holds the parent's id."""

    list: str
    row: str
    target: str
    key: str


@dataclass(frozen=True)
class ObjectType:
    """One record type. ``owner`` names the field whose (account's) deletion takes the row with it."""

    name: str
    fields: tuple[Field, ...]
    children: tuple[ChildList, ...] = ()
    label: tuple[str, ...] = ()
    owner: str | None = None
    indexes: tuple[str, ...] = ()
    tracked: bool = True
    top_level: bool = True
    operations: tuple[str, ...] = ("QueryPage", "Insert", "Update", "Delete", "Execute")

    @cached_property
    def by_name(self) -> Mapping[str, Field]:
        return {field.name: field for field in self.fields}

    @cached_property
    def stored(self) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if field.stored)

    @cached_property
    def position(self) -> Mapping[str, int]:
        """Where a stored field's value is in a record."""
        return {field.name: index for index, field in enumerate(self.stored)}

    @cached_property
    def references(self) -> tuple[Field, ...]:
        return tuple(field for field in self.fields if field.ref)

    @cached_property
    def child_by_list(self) -> Mapping[str, ChildList]:
        return {child.list: child for child in self.children}

    @property
    def service_namespace(self) -> str:
        return f"urn:crmondemand/ws/ecbs/{self.name.lower()}/"

    @property
    def query_namespace(self) -> str:
        return f"urn:/crmondemand/xml/{self.name}/Query"

    @property
    def data_namespace(self) -> str:
        return f"urn:/crmondemand/xml/{self.name}/Data"


_USER_PARTS = ("Alias", "EMailAddr", "ExternalSystemId", "FirstName", "FullName", "IntegrationId", "LastName")
AUDIT = (
    Field("Id"),
    Field("ModId", "int"),
    Field("CreatedDate", "dateTime"),
    Field("CreatedById", ref="User"),
    Field("ModifiedDate", "dateTime"),
    Field("ModifiedById", ref="User"),
    Field("ExternalSystemId"),
    Field("IntegrationId"),
)
# What a write may not set: the CRM keeps these itself.
PROTECTED = frozenset({"Id", "ModId", "CreatedDate", "CreatedById", "ModifiedDate", "ModifiedById"})


def _decorations() -> tuple[Field, ...]:
    """The texts about who created and changed a row, which every object carries."""
    fields = [
        Field("CreatedBy", stamp=("CreatedById", "CreatedDate")),
        Field("ModifiedBy", stamp=("ModifiedById", "ModifiedDate")),
    ]
    for prefix, key in (("CreatedBy", "CreatedById"), ("UpdatedBy", "ModifiedById")):
        for part in (*_USER_PARTS, "UserSignInId"):
            source = ("FirstName", "LastName") if part == "FullName" else (part,)
            fields.append(Field(prefix + part, join=Path(key, "User", source)))
    return tuple(fields)


DECORATIONS = frozenset(field.name for field in _decorations()) - {"CreatedBy", "ModifiedBy"}


def _texts(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name) for name in names)


def _joined(name: str, key: str, target: str, field: str) -> Field:
    return Field(name, join=Path(key, target, (field,)))


def _object(name: str, *fields: Field, **options: object) -> ObjectType:
    return ObjectType(name, (*AUDIT, *fields, *_decorations()), **options)  # type: ignore[arg-type]


_CUSTOM = _texts("CustomText0", "CustomText1", "CustomPickList0")
_TERRITORY = (
    Field("TerritoryId", ref="Territory"),
    _joined("Territory", "TerritoryId", "Territory", "TerritoryName"),
)
_ASSIGNMENT = (
    Field("ReassignOwnerFlag", "boolean"),
    Field("AssignmentStatus"),
    Field("LastAssignmentSubmissionDate", "dateTime"),
    Field("LastAssignmentCompletionDate", "dateTime"),
)
_OWNER = (Field("OwnerId", ref="User"), _joined("Owner", "OwnerId", "User", "Alias"))

ACCOUNT = _object(
    "Account",
    *_texts("AccountName", "Location", "AccountType", "Status", "Priority", "Region", "Industry", "MainPhone"),
    *_texts("CallFrequency", "Route", "CurrencyCode"),
    *_texts("PrimaryBillToStreetAddress", "PrimaryBillToCity", "PrimaryBillToPostalCode", "PrimaryBillToCountry"),
    *_texts("PrimaryShipToStreetAddress", "PrimaryShipToCity", "PrimaryShipToPostalCode", "PrimaryShipToCountry"),
    Field("ParentAccountId", ref="Account"),
    _joined("ParentAccount", "ParentAccountId", "Account", "AccountName"),
    Field("PrimaryContactId", ref="Contact"),
    *_OWNER,
    *_TERRITORY,
    _joined("TerritoryExternalId", "TerritoryId", "Territory", "ExternalSystemId"),
    *_ASSIGNMENT,
    *_CUSTOM,
    label=("AccountName",),
    indexes=("TerritoryId", "ParentAccountId"),
)
CONTACT = _object(
    "Contact",
    *_texts("ContactFirstName", "ContactLastName", "ContactEmail", "JobTitle", "ContactType"),
    *_texts("WorkPhone", "CellularPhone", "PrimaryAddressId"),
    Field("Private", "boolean"),
    Field("AccountId", ref="Account"),
    _joined("AccountName", "AccountId", "Account", "AccountName"),
    Field("ManagerId", ref="Contact"),
    *_OWNER,
    *_TERRITORY,
    *_CUSTOM,
    children=(ChildList("ListOfAccount", "Account", "ContactAccount", "ContactId"),),
    label=("ContactFirstName", "ContactLastName"),
    indexes=("AccountId",),
)
# A row of Contact's ListOfAccount: one for each account a contact belongs to.
CONTACT_ACCOUNT = _object(
    "ContactAccount",
    Field("AccountId", ref="Account"),
    Field("ContactId", ref="Contact"),
    _joined("AccountName", "AccountId", "Account", "AccountName"),
    Field("PrimaryAccount", "boolean"),
    Field("PrimaryContact", "boolean"),
    *_texts("Role"),
    indexes=("AccountId", "ContactId"),
    tracked=False,
    top_level=False,
)
OPPORTUNITY = _object(
    "Opportunity",
    *_texts("OpportunityName", "SalesStage", "SalesStageId", "Status", "Priority", "CurrencyCode"),
    Field("Revenue", "decimal"),
    Field("ExpectedRevenue", "decimal"),
    Field("Probability", "decimal"),
    Field("CloseDate", "date"),
    Field("AccountId", ref="Account"),
    _joined("AccountName", "AccountId", "Account", "AccountName"),
    _joined("AccountTerritoryId", "AccountId", "Account", "TerritoryId"),
    _joined("AccountTerritory", "AccountId", "Account", "Territory"),
    Field("KeyContactId", ref="Contact"),
    *_OWNER,
    *_TERRITORY,
    _joined("TerritoryExternalSystemId", "TerritoryId", "Territory", "ExternalSystemId"),
    *_ASSIGNMENT,
    *_CUSTOM,
    label=("OpportunityName",),
    owner="AccountId",
    indexes=("AccountId",),
)
ACTIVITY = _object(
    "Activity",
    *_texts("Subject", "Activity", "Type", "SubType", "CallType", "Status", "Priority", "Description"),
    Field("Private", "boolean"),
    Field("StartTime", "dateTime"),
    Field("EndTime", "dateTime"),
    Field("DueDate", "date"),
    Field("AccountId", ref="Account"),
    _joined("AccountName", "AccountId", "Account", "AccountName"),
    Field("PrimaryContactId", ref="Contact"),
    Field("OpportunityId", ref="Opportunity"),
    *_texts("ServiceRequestId", "LeadId"),
    Field("OwnerId", ref="User"),
    _joined("Alias", "OwnerId", "User", "Alias"),
    *_CUSTOM,
    label=("Subject",),
    owner="AccountId",
    indexes=("AccountId",),
)
ORDER = _object(
    "Order",
    *_texts("OrderNumber", "OrderId", "OrderCreationStatus", "CurrencyCode"),
    Field("OrderCreationDate", "dateTime"),
    Field("BusinessAccountId", ref="Account"),
    Field("OpportunityId", ref="Opportunity"),
    Field("OwnerId", ref="User"),
    *_CUSTOM,
    label=("OrderNumber",),
    owner="BusinessAccountId",
    indexes=("BusinessAccountId",),
    tracked=False,
)
TERRITORY = _object(
    "Territory",
    *_texts("TerritoryName", "Description", "CurrencyCode"),
    Field("CurrentQuota", "decimal"),
    Field("ParentTerritoryId", ref="Territory"),
    _joined("ParentTerritoryName", "ParentTerritoryId", "Territory", "TerritoryName"),
    _joined("ParentTerritoryExternalSystemId", "ParentTerritoryId", "Territory", "ExternalSystemId"),
    label=("TerritoryName",),
    tracked=False,
)
USER = _object(
    "User",
    *_texts("UserSignInId", "Alias", "FirstName", "LastName", "EMailAddr", "Status", "TimeZoneId"),
    *_texts("PrimaryPositionId", "RoleId", "DefaultBookName"),
    Field("ManagerId", ref="User"),
    label=("FirstName", "LastName"),
    operations=("QueryPage", "Insert", "Update", "Execute"),
)
MODIFICATION_TRACKING = _object(
    "ModificationTracking",
    *_texts("ObjectName", "ObjectId", "ChildName", "ChildId", "EventName"),
    Field("ModificationNumber", "int"),
    indexes=("ObjectId",),
    tracked=False,
)

OBJECTS: Mapping[str, ObjectType] = {
    object_type.name: object_type
    for object_type in (
        TERRITORY,
        USER,
        ACCOUNT,
        CONTACT,
        CONTACT_ACCOUNT,
        OPPORTUNITY,
        ACTIVITY,
        ORDER,
        MODIFICATION_TRACKING,
    )
}
RECORD_TYPES = tuple(name for name, kind in OBJECTS.items() if kind.top_level and name != "ModificationTracking")
