"""SOAP adapter for Oracle CRM On Demand: typed, metered, paced reading that loses nothing in silence."""

from orchestration.crm.client import CrmClient, Found
from orchestration.crm.errors import (
    ConfigurationError,
    CrmAnswerError,
    CrmBudgetExhausted,
    CrmCannotCount,
    CrmCredentialsError,
    CrmError,
    CrmNoAccess,
    CrmRefused,
    CrmTooHeavy,
    CrmUnavailable,
)
from orchestration.crm.queries import MODIFICATION_TRACKING, LogShape, Query, Shape, any_of, literal, modified, stamp
from orchestration.crm.rows import Defect, Page, Row
from orchestration.crm.services import DeletedItem
from orchestration.crm.settings import AuthMode, CrmSettings

__all__ = [
    "MODIFICATION_TRACKING",
    "AuthMode",
    "ConfigurationError",
    "CrmAnswerError",
    "CrmBudgetExhausted",
    "CrmCannotCount",
    "CrmClient",
    "CrmCredentialsError",
    "CrmError",
    "CrmNoAccess",
    "CrmRefused",
    "CrmSettings",
    "CrmTooHeavy",
    "CrmUnavailable",
    "Defect",
    "DeletedItem",
    "Found",
    "LogShape",
    "Page",
    "Query",
    "Row",
    "Shape",
    "any_of",
    "literal",
    "modified",
    "stamp",
]
