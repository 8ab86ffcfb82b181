"""One trace for each publication, from the edit in the CRM to the answers that bring it to devices.

Pipeline and service never talk about a trace: both work out its ids from the epoch and the number of the publication.
"""

from __future__ import annotations

import hashlib


def publication_trace(epoch: str, seq: int) -> tuple[int, int]:
    """Trace id (128 bits) and the id of its root span (64 bits), neither zero."""
    digest = hashlib.sha256(f"{epoch}/{seq}".encode()).digest()
    return int.from_bytes(digest[:16]) or 1, int.from_bytes(digest[16:24]) or 1
