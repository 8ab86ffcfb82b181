"""Links from the Dagster UI to the delta service, as people's browsers reach it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import urlencode


@dataclass(frozen=True)
class ServiceLinks:
    """Markdown links; plain text where ``service_url`` is not known. The service asks for a token by itself."""

    service_url: str | None

    @classmethod
    def from_environment(cls) -> ServiceLinks:
        return cls((os.environ.get("DEVICE_SERVICE_URL") or "").rstrip("/") or None)

    def device(self, text: str, territory: str) -> str:
        """To the device page of a territory (id or name)."""
        return self._link(text, "/device/", territory=territory)

    def explain(self, text: str, territory: str, object_name: str, row_id: str) -> str:
        """To the reason why a row is, or is not, in a territory; for tokens of operators."""
        return self._link(text, "/v1/explain", territory=territory, object=object_name, rowId=row_id)

    def _link(self, text: str, path: str, **parameters: str) -> str:
        if self.service_url is None:
            return text
        return f"[{text}]({self.service_url}{path}?{urlencode(parameters)})"
