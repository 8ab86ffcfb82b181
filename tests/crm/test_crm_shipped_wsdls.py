"""The shipped WSDLs have every object and field of the default catalog."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from lxml import etree

from orchestration.catalog import DEFAULT_PATH, load_catalog
from orchestration.crm import MODIFICATION_TRACKING, Query, Shape
from orchestration.crm.requests import Request, RequestFactory
from orchestration.crm.services import clock_request, deleted_items_request
from orchestration.crm.settings import SHIPPED_WSDL_DIR
from orchestration.crm.wsdl import WsdlDirectory

WSDLS = WsdlDirectory(SHIPPED_WSDL_DIR)
SHAPES: list[Shape] = [*load_catalog(), MODIFICATION_TRACKING]


def assert_valid(request: Request) -> None:
    """Validate against the WSDL's own schemas with libxml2, which did not build the request."""
    definitions = etree.parse(request.operation.path).getroot()
    schemas = {schema.get("targetNamespace", ""): schema for schema in definitions.iter("{*}schema")}
    for schema in schemas.values():
        for imported in schema.iter("{*}import"):
            imported.set("schemaLocation", f"mem:{imported.get('namespace')}")

    class Memory(etree.Resolver):
        def resolve(self, system_url: str, public_id: str, *context: object) -> object:
            schema = etree.tostring(schemas[system_url.removeprefix("mem:")])
            return self.resolve_string(schema, *context, base_url=None)

    parser = etree.XMLParser()
    parser.resolvers.add(Memory())
    body = request.envelope.find("{*}Body")
    assert body is not None
    (message,) = body
    service = schemas[etree.QName(message).namespace or ""]
    schema = etree.XMLSchema(etree.fromstring(etree.tostring(service), parser))
    schema.assertValid(etree.fromstring(etree.tostring(message)))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_valid_request_is_built_for_every_object_of_the_default_catalog(shape: Shape) -> None:
    request = RequestFactory(WSDLS).query_page(Query(shape, "[Id] = '1'"), 0, 100, count=True)
    assert_valid(request)
    row = next(request.envelope.iter(f"{{*}}{shape.service}"))
    assert {str(child.tag).rpartition("}")[2] for child in row} == {
        *Query(shape).types,
        *(link.list for link in shape.links),
    }


def test_a_query_for_one_book_still_requests_all_books_of_each_row() -> None:
    account = load_catalog(DEFAULT_PATH.parents[1] / "docs/books.yaml")["account"]
    factory = RequestFactory(WSDLS)
    for book in ("1-FIRST", "1-SECOND"):
        request = factory.query_page(Query(account, book_id=book), 0, 100)
        assert_valid(request)
        rows = next(request.envelope.iter("{*}ListOfAccount"))
        arguments = rows.getparent()
        assert arguments is not None
        assert arguments.findtext("{*}BookId") == book
        assert arguments.findtext("{*}IncludeSubBooks") == "false"
        assert [element.text or "" for element in rows.iter("{*}BookId")] == [""]
    assert next(factory.query_page(Query(account), 0, 100).envelope.iter("{*}IncludeSubBooks"), None) is None


def test_the_requests_of_the_older_services_are_valid() -> None:
    assert_valid(clock_request(WSDLS))
    assert_valid(deleted_items_request(WSDLS, datetime.now(UTC), timedelta(hours=1), 100))
