"""zeep, which reads the WSDLs as a strict client would; it has no types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import zeep


def wsdl_client(wsdl: Path) -> Any:
    """A ``zeep.Client`` that accepts no DTD, no entity and no file beside the WSDL."""
    settings = zeep.Settings(strict=True, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    client: Any = zeep.Client
    return client(str(wsdl), settings=settings)
