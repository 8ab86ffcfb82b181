"""Failures to order: the next answers of an operation are cut, replaced, delayed or dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Kind = Literal["truncated", "html", "empty", "reset", "stall", "code"]


class FaultOrder(BaseModel):
    """``operation`` is a name such as ``AccountQueryPage``, or ``*``; ``seconds`` is how long a stall lasts."""

    model_config = ConfigDict(extra="forbid")

    operation: str = "*"
    kind: Kind
    code: str = ""
    times: int = Field(default=1, ge=1)
    seconds: float = Field(default=5.0, ge=0)
    status: int | None = Field(default=None, ge=200, le=599)

    @model_validator(mode="after")
    def _needs_code(self) -> FaultOrder:
        if self.kind == "code" and not self.code:
            raise ValueError("a fault of kind `code` needs the code")
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
