"""docs/digest-vectors.json is recomputed with a hash function alone, and every implementation is compared to it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections import Counter
from typing import Any

import pytest

from delta_client import digest
from tests.delta_service import model
from tests.e2e.system import PROJECT

VECTORS: dict[str, Any] = json.loads((PROJECT / "docs/digest-vectors.json").read_text())
ROWS: list[dict[str, Any]] = VECTORS["rows"]


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def test_the_published_vectors_are_what_the_contract_says() -> None:
    digests = dict.fromkeys(VECTORS["counts"], 0)
    buckets: dict[str, dict[str, int]] = {name: {} for name in digests}
    for row in ROWS:
        assert row["version"] == sha256(row["text"])[:16]
        assert row["part"] == sha256("|".join((row["object"], row["rowId"], row["version"])))[:16]
        assert row["bucket"] == int(sha256(row["rowId"])[:2], 16)
        assert json.loads(row["text"])[row["object"] + "Id"] == row["rowId"]
        digests[row["object"]] += int(row["part"], 16)
        place = str(row["bucket"])
        buckets[row["object"]][place] = buckets[row["object"]].get(place, 0) + int(row["part"], 16)
    assert VECTORS["counts"] == dict.fromkeys(digests, 0) | Counter(row["object"] for row in ROWS)
    assert VECTORS["digests"] == {name: f"{total % 2**64:016x}" for name, total in digests.items()}
    assert VECTORS["buckets"] == {
        name: {place: f"{total % 2**64:016x}" for place, total in places.items()} for name, places in buckets.items()
    }


def test_the_vectors_include_the_difficult_cases() -> None:
    texts = "".join(row["text"] for row in ROWS)
    assert not texts.isascii()
    assert "1200.50" in texts
    assert any(
        sum(int(row["part"], 16) for row in ROWS if row["object"] == name) >= 2**64 for name in VECTORS["counts"]
    )
    assert any(count > 1 for count in Counter((row["object"], row["bucket"]) for row in ROWS).values())
    assert 0 in VECTORS["counts"].values()


def expected_buckets(name: str) -> list[str]:
    return [VECTORS["buckets"][name].get(str(place), "0" * 16) for place in range(256)]


@pytest.mark.parametrize("name", VECTORS["counts"])
def test_the_reference_client_and_the_service_compute_the_published_digests(name: str) -> None:
    rows = [(row["rowId"], row["text"]) for row in ROWS if row["object"] == name]
    assert digest.digest_of(name, rows) == VECTORS["digests"][name]
    assert digest.bucket_digests(name, rows) == expected_buckets(name)
    parts = [model.digest_of((name, row_id), text) for row_id, text in rows]
    assert f"{sum(parts) % 2**64:016x}" == VECTORS["digests"][name]


@pytest.mark.processes
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_the_adapters_in_javascript_compute_the_published_buckets() -> None:
    versions: dict[str, dict[str, str]] = {name: {} for name in VECTORS["counts"]}
    for row in ROWS:
        versions[row["object"]][row["rowId"]] = row["version"]
    script = f"""
    import {{ bucketDigests }} from "./delta-api.mjs";
    const found = {{}};
    for (const [object, rows] of Object.entries({json.dumps(versions)}))
      found[object] = await bucketDigests(object, new Map(Object.entries(rows)));
    console.log(JSON.stringify(found));
    """
    command = ["node", "--input-type=module", "-"]
    done = subprocess.run(
        command, input=script, cwd=PROJECT / "docs/clients", capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == {name: expected_buckets(name) for name in VECTORS["counts"]}
