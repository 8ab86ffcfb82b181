"""Pages and a WSDL of an Account service as the CRM's own has it, for comparing readers.

A company's WSDL of the real Account service describes 690 plain fields a row, by :data:`CRM_FIELDS`, of which a query
names a few; all of them, and not the few, are what zeep's reader goes through for each row. The fields asked for are of
the same mix. Some are blank: then a string comes as an empty element, and anything else does not come.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

from lxml import etree

from crm_simulator.kinds import Field, ObjectType
from crm_simulator.wsdl import object_wsdl
from orchestration.catalog import FieldType
from orchestration.crm.wsdl import Operation, WsdlDirectory

CRM_FIELDS = {"string": 393, "decimal": 149, "dateTime": 43, "boolean": 41, "int": 38, "date": 26}
SHARE_BLANK = 0.2
WORDS = [
    "Klinik",
    "Praxis",
    "Hospital",
    "Nord",
    "Süd",
    "Zentrum",
    "Universität",
    "Dr.",
    "Group",
    "Care",
    "Partner",
    "&",
    "Söhne",
    "Ärztehaus",
    "Straße",
]
ENVELOPE = "http://schemas.xmlsoap.org/soap/envelope/"


def account(number_of_fields: int) -> ObjectType:
    """With so many fields in the CRM's mix, ``Id`` among them; those of fewer are among those of more."""
    every = sum(CRM_FIELDS.values())
    others = {kind: round(n * number_of_fields / every) for kind, n in CRM_FIELDS.items() if kind != "string"}
    fields = [Field("Id")]
    for kind, count in {"string": number_of_fields - 1 - sum(others.values()), **others}.items():
        fields += (Field(f"Custom{kind[0].upper()}{kind[1:]}{number}", kind) for number in range(count))
    return ObjectType("Account", tuple(fields))


def query_page_operation(kind: ObjectType, folder: Path) -> Operation:
    """What a WSDL of this shape, written to an empty folder, offers."""
    (folder / "Account.wsdl").write_bytes(etree.tostring(object_wsdl(kind)))
    return WsdlDirectory(folder).operation("AccountQueryPage_Input")


def pages(kind: ObjectType, count: int, rows: int) -> Iterator[bytes]:
    """Different ones, the same each time: nobody gains by keeping what a text meant on the page before."""
    chance = random.Random(1)
    for number in range(count):
        content = "".join(_row(kind, number * rows + row, chance) for row in range(rows))
        yield (
            f'<?xml version="1.0" encoding="utf-8"?><SOAP-ENV:Envelope xmlns:SOAP-ENV="{ENVELOPE}"><SOAP-ENV:Body>'
            f'<ns:AccountQueryPage_Output xmlns:ns="{kind.service_namespace}">'
            f'<ListOfAccount xmlns="{kind.data_namespace}" lastpage="true">{content}</ListOfAccount>'
            "</ns:AccountQueryPage_Output></SOAP-ENV:Body></SOAP-ENV:Envelope>"
        ).encode()


def _row(kind: ObjectType, number: int, chance: random.Random) -> str:
    cells = [f"<Id>1QA2-{number:06X}</Id>"]
    for field in kind.fields[1:]:
        if chance.random() >= SHARE_BLANK:
            cells.append(f"<{field.name}>{escape(_text(FieldType(field.type), chance))}</{field.name}>")
        elif field.type == "string":
            cells.append(f"<{field.name}/>")
    return f"<Account>{''.join(cells)}</Account>"


def _text(kind: FieldType, chance: random.Random) -> str:
    number = chance.randrange(10**6)
    match kind:
        case FieldType.STRING:
            return " ".join(chance.choices(WORDS, k=3))
        case FieldType.BOOLEAN:
            return ("true", "false")[number % 2]
        case FieldType.INT:
            return str(number % 10_000)
        case FieldType.DECIMAL:
            return f"{number // 10}.{number % 100:02}"
    day = f"2026-{1 + number % 12:02}-{1 + number % 28:02}"
    return day if kind is FieldType.DATE else f"{day}T{number % 24:02}:{number % 59:02}:{number % 57:02}Z"
