"""Rows that spoil each answer they are in: illegal characters, endless texts, values that are not of their type.

The damage is in the row as shown, not in the record: it lasts until it is lifted, and an answer with nothing but the
row's id is sound.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator

from crm_simulator.bodies import Body
from crm_simulator.crm import Crm, Touched

_ALWAYS_SOUND = {"Id", "ModId"}
_TEXTS = {"escape": "A&#x1B;B", "control": "A\x0bB"}


@dataclass(frozen=True)
class Spoiled:
    """What is shown in a ``field`` of a row (None: its first one); an empty text leaves the field out."""

    field: str | None
    text: str


class Damage(Body):
    """Spoil a row of any object, the event log's too; or, with ``lifted``, mend one or (without ``id``) all.

    ``how``: an escaped (`escape`) or a raw (`control`) illegal character, an endless text (`huge`), or a `value` that
    stands in ``field`` (an empty one: the field is left out).
    """

    id: str | None = None
    how: Literal["escape", "control", "huge", "value"] = "escape"
    field: str | None = Field(default=None, pattern=r"^\w+$")
    text: str = ""
    megabytes: int = Field(default=11, ge=1, le=100)
    lifted: bool = False

    @model_validator(mode="after")
    def _complete(self) -> Damage:
        if not self.lifted and self.id is None:
            raise ValueError("say which row, by its `id`")
        if self.how == "value" and self.field is None:
            raise ValueError("a `value` needs its `field`")
        return self

    def carry_out(self, crm: Crm) -> dict[str, Any]:
        if self.id is None:
            crm.spoiled.clear()
        elif self.lifted:
            crm.spoiled.pop(self.id, None)
        else:
            text = "x" * self.megabytes * 1_000_000 if self.how == "huge" else _TEXTS.get(self.how, self.text)
            crm.spoiled[self.id] = Spoiled(self.field, text)
        crm.remember("Changed which rows spoil answers", Touched())
        return {"spoiled": sorted(crm.spoiled)}


def with_spoiled_rows(crm: Crm, answer: str) -> str:
    """The answer as it is sent."""
    for row_id, spoiled in crm.spoiled.items():
        mark = f"<Id>{row_id}</Id>"
        if mark in answer:
            row = re.search(rf"<(\w+)>(?:(?!</\1>).)*?{re.escape(mark)}.*?</\1>", answer, re.DOTALL)
            if row is not None:
                answer = answer[: row.start()] + _spoil(row[0], spoiled) + answer[row.end() :]
    return answer


def _spoil(row: str, spoiled: Spoiled) -> str:
    for found in re.finditer(r"<(\w+)>[^<]*</\1>|<(\w+)/>", row):
        name = found[1] or found[2]
        if name == spoiled.field or (spoiled.field is None and name not in _ALWAYS_SOUND):
            shown = f"<{name}>{spoiled.text}</{name}>" if spoiled.text else ""
            return row[: found.start()] + shown + row[found.end() :]
    return row
