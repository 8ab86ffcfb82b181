"""The preflight report: good findings, warnings and errors."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestration.catalog import load_catalog
from orchestration.crm.errors import CrmCredentialsError, CrmNoAccess
from orchestration.crm.queries import Query
from orchestration.pipeline.preflight import Verdict, as_markdown, preflight
from tests.pipeline.fake_crm import FakeCrm

CATALOG = load_catalog()
NOW = datetime(2026, 11, 24, 6, 0, 0, tzinfo=UTC)


class Pod(FakeCrm):
    refused = ""
    error: Exception = CrmNoAccess("SBL-DAT-00553")

    def count(self, query: Query) -> int:
        if query.object.service == self.refused:
            raise self.error
        return 0 if query.object.service == "Order" else 7


def verdicts(pod: Pod) -> dict[str, Verdict]:
    return {finding.subject: finding.verdict for finding in preflight(pod, CATALOG, NOW)}


def test_an_object_without_visible_rows_is_a_warning() -> None:
    found = verdicts(Pod(NOW))
    assert found["Account"] is Verdict.GOOD
    assert found["Order"] is Verdict.WARNING
    assert found["clock"] is Verdict.GOOD


@pytest.mark.parametrize("service", ["Contact", "ModificationTracking"])
def test_objects_without_access_are_bad_and_listed_first(service: str) -> None:
    pod = Pod(NOW)
    pod.refused = service
    findings = preflight(pod, CATALOG, NOW)
    first = as_markdown(findings).splitlines()[2]
    assert "bad" in first
    assert "SBL-DAT-00553" in first


def test_a_refused_password_ends_the_preflight_immediately() -> None:
    pod = Pod(NOW)
    pod.refused, pod.error = "Territory", CrmCredentialsError("refused")
    with pytest.raises(CrmCredentialsError):
        preflight(pod, CATALOG, NOW)


@pytest.mark.parametrize(
    ("left", "verdict", "said"),
    [("900", Verdict.GOOD, "900 of 1000"), ("10", Verdict.WARNING, "10 of 1000"), (None, Verdict.GOOD, "no limit")],
)
def test_the_allotment_is_reported_and_a_low_one_is_a_warning(left: str | None, verdict: Verdict, said: str) -> None:
    pod = Pod(NOW)
    fields = {"Name": "Web Services Operations Allotment", "Value": "1000", "CurrentUsage": "3"}
    pod.tables["ServiceAllotment"] = {"1": fields | {"RemainingUsage": left}}
    (finding,) = (f for f in preflight(pod, CATALOG, NOW) if f.subject == "allotment")
    assert finding.verdict is verdict
    assert said in finding.said


def test_an_unreadable_allotment_is_a_warning_that_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    pod = Pod(NOW)

    def refuse(*_: object, **__: object) -> None:
        raise CrmNoAccess("SBL-ODU-01011")

    monkeypatch.setattr(pod, "read", refuse)
    (finding,) = (f for f in preflight(pod, CATALOG, NOW) if f.subject == "allotment")
    assert finding.verdict is Verdict.WARNING
    assert "CRMOD_OPERATIONS_BUDGET" in finding.said
