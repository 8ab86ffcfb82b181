"""The objects the simulated CRM has: their fields and types, how they refer to each other, and what follows from it.

Everything else (WSDLs, query answers, cascades, generated data) is derived from :data:`OBJECTS`. Values are kept as
the text that goes on the wire; None is a blank.
"""

from __future__ import annotations

from collections.abc import Mapping

from crm_simulator.kinds import ChildList, Field, ObjectType, Path

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


_CUSTOM = (
    Field("CustomText0", tag="stRegistrationNumber"),
    Field("CustomText1"),
    Field("CustomPickList0", tag="plSegment"),
    Field("CustomBoolean0", "boolean", tag="bKeyCustomer"),
)
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
    children=(ChildList("ListOfBook", "Book", "AccountBook", "AccountId"),),
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
    children=(
        ChildList("ListOfAccount", "Account", "ContactAccount", "ContactId"),
        ChildList("ListOfBook", "Book", "ContactBook", "ContactId"),
    ),
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
BOOK = _object(
    "Book",
    *_texts("BookName", "BookType", "Description", "PartnerId"),
    Field("CanContainDataFlag", "boolean"),
    Field("ParentBookId", ref="Book"),
    _joined("ParentBookName", "ParentBookId", "Book", "BookName"),
    label=("BookName",),
    indexes=("ParentBookId",),
    tracked=False,
)


def _book_rows(owner: str) -> ObjectType:
    """Rows of an object's ListOfBook: one for each book a record is in."""
    return _object(
        f"{owner}Book",
        Field(f"{owner}Id", ref=owner),
        Field("BookId", ref="Book"),
        _joined("BookName", "BookId", "Book", "BookName"),
        _joined("BookType", "BookId", "Book", "BookType"),
        Field("Primary", "boolean"),
        indexes=(f"{owner}Id", "BookId"),
        tracked=False,
        top_level=False,
    )


ACCOUNT_BOOK = _book_rows("Account")
CONTACT_BOOK = _book_rows("Contact")
# Computed by the CRM itself; its rows are brought up to date when somebody asks.
SERVICE_ALLOTMENT = _object(
    "ServiceAllotment",
    *_texts("Name", "DisplayName", "Description", "AllotmentType", "AllotmentUnit", "EmailAlertList"),
    Field("Value", "decimal"),
    Field("CurrentUsage", "decimal"),
    Field("RemainingUsage", "decimal"),
    Field("AlertThreshold", "decimal"),
    Field("AlertEnabled", "boolean"),
    tracked=False,
    operations=("QueryPage",),
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
        BOOK,
        ACCOUNT_BOOK,
        CONTACT_BOOK,
        SERVICE_ALLOTMENT,
        MODIFICATION_TRACKING,
    )
}
# What users work with: not the rows that the CRM writes about itself.
RECORD_TYPES = tuple(
    name
    for name, kind in OBJECTS.items()
    if kind.top_level and name not in ("ModificationTracking", "ServiceAllotment")
)
# Records that belong to books, and the rows that say to which.
BOOK_ROWS: Mapping[str, str] = {"Account": "AccountBook", "Contact": "ContactBook"}
