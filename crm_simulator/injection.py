"""Failures to order: the next answers of an operation are cut, replaced, delayed or dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from crm_simulator.fault_table import BAD_CREDENTIALS, CASES

Kind = Literal[
    "code",
    "reset",
    "stall",
    "slow_body",
    "truncated",
    "empty",
    "html",
    "content_type",
    "wrong_gzip",
    "cut_gzip",
    "gzip_bomb",
    "xml_entity",
    "xml_bomb",
    "xml_external",
    "huge_text",
    "no_lastpage",
    "row_without_id",
    "bad_value",
    "no_rows",
]


class FaultOrder(BaseModel):
    """The next ``times`` answers of an ``operation`` (a name such as ``AccountQueryPage``, or ``*``) go wrong.

    ``code``, with ``case`` and ``language``, belongs to kind `code`; ``seconds`` says how long a `stall` (before the
    answer) or a `slow_body` (in its middle) lasts, ``megabytes`` how big a `gzip_bomb` or a `huge_text` is, ``field``
    which element gets the `bad_value`; `no_rows` is an answer that is sound but for the
    rows it should hold. ``status`` is the HTTP status; None leaves it as it is.
    """

    model_config = ConfigDict(extra="forbid")

    operation: str = "*"
    kind: Kind
    code: str = ""
    case: str = ""
    language: str = "ENU"
    times: int = Field(default=1, ge=1)
    seconds: float = Field(default=5.0, ge=0)
    megabytes: int = Field(default=100, ge=1, le=10_000)
    field: str = Field(default="ModifiedDate", pattern=r"^\w+$")
    status: int | None = Field(default=None, ge=200, le=599)

    @model_validator(mode="after")
    def _needs_code(self) -> FaultOrder:
        if self.kind == "code" and not self.code:
            raise ValueError("a fault of kind `code` needs the code")
        if self.case and self.case not in CASES.get(self.code, {}):
            raise ValueError(f"there is no case {self.case!r}; there are {', '.join(CASES.get(self.code, ()))}")
        if self.language not in BAD_CREDENTIALS:
            raise ValueError(f"there is no language {self.language!r}; there are {', '.join(BAD_CREDENTIALS)}")
        return self


@dataclass
class _Pending:
    order: FaultOrder
    left: int


class FaultScript:
    """The orders not used up yet, first come, first served."""

    def __init__(self) -> None:
        self._pending: list[_Pending] = []

    def add(self, order: FaultOrder) -> None:
        self._pending.append(_Pending(order, order.times))

    def clear(self) -> None:
        self._pending.clear()

    def take(self, operation: str) -> FaultOrder | None:
        """The failure this request is to have, if any."""
        for pending in self._pending:
            if pending.order.operation in ("*", operation):
                pending.left -= 1
                if not pending.left:
                    self._pending.remove(pending)
                return pending.order
        return None

    @property
    def pending(self) -> list[dict[str, object]]:
        return [pending.order.model_dump() | {"times": pending.left} for pending in self._pending]
