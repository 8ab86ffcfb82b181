"""A device as strict as can be: whatever is not exactly right in an answer fails the test at once."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import httpx

from tests.e2e.oracle import OBJECTS, View


class Device:
    """Holds rows by polling. ``route`` is a delta path; ``token`` may change (that is how a scope changes)."""

    def __init__(self, name: str, base: str, route: str, token: str) -> None:
        self.name, self.base, self.route, self.token = name, base, route, token
        self.cursor: str | None = None
        self.rows: View = {name: {} for name in OBJECTS}
        self.operations = 0

    def poll_if_answered(self, http: httpx.Client, limit: int) -> bool:
        """``False`` if the service said 503, which is to be asked again; anything else that is not right fails."""
        try:
            self.poll(http, limit)
        except AssertionError as error:
            if not str(error).startswith(f"{self.name}: 503"):
                raise
            return False
        return True

    def poll(self, http: httpx.Client, limit: int) -> None:
        """One delta, page by page, applied when its last page is there."""
        parameters: dict[str, Any] = {"limit": limit}
        if self.cursor is not None:
            parameters["since"] = self.cursor
        answer = self._get(http, self.route, parameters)
        pages = [answer]
        while answer.headers["Sync-Complete"] == "false":
            assert "Sync-Cursor" not in answer.headers
            answer = self._get(http, answer.links["next"]["url"], {})
            pages.append(answer)
        self._apply(pages, limit)
        self.cursor = answer.headers["Sync-Cursor"]
        self._check_counts(answer)

    def _get(self, http: httpx.Client, path: str, parameters: dict[str, Any]) -> httpx.Response:
        answer = http.get(
            self.base + path if path.startswith("/") else path,
            params=parameters or None,
            headers={"Authorization": f"Bearer {self.token}"},
        )
        assert answer.status_code == 200, f"{self.name}: {answer.status_code} {answer.text}"
        return answer

    def _apply(self, pages: list[httpx.Response], limit: int) -> None:
        named: set[tuple[str, str]] = set()
        for page in pages:
            body = json.loads(page.content, parse_float=str, parse_int=str)
            assert list(body) == list(OBJECTS)
            size = 0
            for obj, lists in body.items():
                assert list(lists) == ["insert", "update", "deleted"]
                rows = self.rows[obj]
                for kind, entries in lists.items():
                    size += len(entries)
                    for entry in entries:
                        row_id = entry["rowId"] if kind == "deleted" else entry[f"{obj}Id"]
                        assert (obj, row_id) not in named, f"{self.name}: {obj} {row_id} is named twice"
                        named.add((obj, row_id))
                        if kind == "deleted":
                            assert rows.pop(row_id, None) is not None, f"{self.name}: delete of an unknown {obj}"
                        elif kind == "insert":
                            assert row_id not in rows, f"{self.name}: insert of a known {obj}"
                            rows[row_id] = entry
                        else:
                            assert rows[row_id] != entry, f"{self.name}: update of an equal {obj}"
                            rows[row_id] = entry
            assert size <= limit
            self.operations += size

    def _check_counts(self, answer: httpx.Response) -> None:
        counts = dict(part.strip().split("=") for part in answer.headers["Sync-Counts"].split(","))
        assert {obj: int(count) for obj, count in counts.items()} == {obj: len(rows) for obj, rows in self.rows.items()}

    def expect(self, view: View) -> None:
        for obj, rows in view.items():
            missing, extra = rows.keys() - self.rows[obj].keys(), self.rows[obj].keys() - rows.keys()
            assert not missing, f"{self.name} lacks {len(missing)} {obj} rows: {sorted(missing)[:5]}"
            assert not extra, f"{self.name} has {len(extra)} {obj} rows too many: {sorted(extra)[:5]}"
            for row_id, row in rows.items():
                assert self.rows[obj][row_id] == row, f"{self.name}: {obj} {row_id}"


def digest_of(obj: str, bodies: dict[str, bytes]) -> str:
    """Section 6 of the contract, from row texts exactly as served."""
    total = 0
    for row_id, body in bodies.items():
        version = hashlib.sha256(body).hexdigest()[:16]
        total += int.from_bytes(hashlib.sha256(f"{obj}|{row_id}|{version}".encode()).digest()[:8], "big")
    return f"{total % 2**64:016x}"
