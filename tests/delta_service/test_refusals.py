"""Sections 5, 7 and 8 of the contract: what is refused, how, and what the caller learns."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from dataclasses import replace
from pathlib import Path
from string import ascii_letters, digits
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from delta_service.cursor import Anchor, Cursor
from delta_service.settings import ServiceSettings, SettingsError
from delta_service.store.writer import DeltaStoreWriter
from tests.delta_service.conftest import (
    SECRET,
    VALID_CLAIMS,
    WORLDS,
    Device,
    Running,
    RunScenario,
    publish,
    service_of,
    token,
)
from tests.delta_service.model import IDENTITY, full_copy
from tests.delta_service.problems import assert_problem


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("since=nonsense", "cursor-malformed"),
        ("since=", "cursor-malformed"),
        ("since=-1", "cursor-malformed"),
        ("since=2026-11-24", "cursor-malformed"),
        ("since=2026-13-45T00:00:00Z", "cursor-malformed"),
        ("since=c1.e30.e30", "cursor-malformed"),
        ("since=c1.W10.AAAA", "cursor-malformed"),
        ("since=99999999999999999999", "cursor-malformed"),
        ("page=p1.x.y", "cursor-malformed"),
        ("sinc=4", "parameter-unknown"),
        ("since=4&since=3", "parameter-invalid"),
        ("since=4&page=p1", "parameter-invalid"),
        ("objects=account,martian", "object-unknown"),
        ("objects=", "object-unknown"),
        ("limit=0", "limit-invalid"),
        ("limit=50001", "limit-invalid"),
        ("limit=ten", "limit-invalid"),
        ("versions=maybe", "parameter-invalid"),
        ("wait=61", "parameter-invalid"),
        ("wait", "parameter-invalid"),
    ],
)
def test_invalid_parameters_are_refused(run: RunScenario, query: str, code: str) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        assert_problem(await device.get(f"/v1/territories/T-NORTH/delta?{query}"), 400, code)

    run(scenario)


def test_a_tampered_cursor_is_malformed(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        kind, payload, signature = (await device.cursor()).split(".")
        for position in range(len(payload)):
            changed = payload[:position] + ("A" if payload[position] != "A" else "B") + payload[position + 1 :]
            answer = await device.get("north", since=f"{kind}.{changed}.{signature}")
            # A change in the epoch looks like a cursor of another history. No forged cursor gets a delta.
            assert answer.status_code in (400, 409), position
        others = set(ascii_letters + digits + "-_") - {signature[-1]}
        for end in [signature[-1] + extra for extra in ("!", "=", "\n", "é", "A")] + sorted(others):
            since = f"{kind}.{payload}.{signature[:-1]}{end}"
            assert_problem(await device.get("north", since=since), 400, "cursor-malformed")
        forged = Cursor(IDENTITY.epoch, (Anchor(("T-SOUTH",), 1, None),)).encode(b"another key")
        assert_problem(await device.get("north", since=forged), 400, "cursor-malformed")

    run(scenario)


def test_cursors_that_the_store_cannot_know_are_conflicts(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        ahead = Cursor(IDENTITY.epoch, (Anchor(("T-NORTH",), 5, None),)).encode(IDENTITY.cursor_key)
        for since in (ahead, 5):
            document = assert_problem(await device.get("north", since=since), 409, "cursor-ahead")
            assert document["action"] == "reconcile"
        before = await device.cursor()
        page = (await device.get("north", since=1, limit=1)).headers["link"].split(">")[0].removeprefix("<")
        lost = replace(IDENTITY, epoch="epoch-2", cursor_key=b"another key of thirty-two bytes!")
        running.writer.replace(full_copy(WORLDS, ["T-NORTH"], lost))
        await running.service.watch.look()
        document = assert_problem(await device.get("north", since=before), 409, "cursor-epoch")
        assert document["links"]["snapshot"] == "/v1/territories/T-NORTH/delta"
        assert_problem(await device.get(page), 410, "page-expired")

    run(scenario)


def test_cursors_older_than_the_history_are_expired(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        old = Cursor(IDENTITY.epoch, (Anchor(("T-NORTH",), 1, None),)).encode(IDENTITY.cursor_key)
        before = (await device.get("north", since=2)).json()
        page = (await device.get("north", since=1, limit=1)).headers["link"].split(">")[0].removeprefix("<")
        running.writer.prune(2, 2)
        await running.service.watch.look()
        for since in (old, 1, 0, "2020-01-01T00:00:00Z"):
            document = assert_problem(await device.get("north", since=since), 410, "cursor-expired")
            assert document["action"] == "reconcile"
            assert document["links"] == {
                "reconcile": "/v1/territories/T-NORTH/reconcile",
                "snapshot": "/v1/territories/T-NORTH/delta",
            }
        assert (await device.get("north", since=2)).json() == before
        # The page's publication is still complete, but the cursor that it started from has expired.
        assert_problem(await device.get(page), 410, "cursor-expired")
        assert (await device.get("north")).status_code == 200

    run(scenario)


def test_a_page_expires_when_its_bodies_are_pruned(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH", "T-SOUTH")
        page = (await device.get("/v1/delta", limit=1)).headers["link"].split(">")[0].removeprefix("<")
        await running.publish([*WORLDS, WORLDS[3]])
        assert (await device.get(page)).status_code == 200
        running.writer.prune(0, 5)
        await running.service.watch.look()
        assert assert_problem(await device.get(page), 410, "page-expired")["action"] == "restart"

    run(scenario)


def test_a_page_needs_a_token_with_its_scope(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        both = running.device("T-NORTH", "T-SOUTH")
        page = (await both.get("/v1/delta", limit=1)).headers["link"].split(">")[0].removeprefix("<")
        assert_problem(await running.device("T-NORTH").get(page), 410, "page-expired")
        north = (await both.get("north", limit=1)).headers["link"].split(">")[0].removeprefix("<")
        assert_problem(await running.device("T-SOUTH").get(north), 403, "scope-denied")
        assert_problem(await both.get(north.replace("T-NORTH", "T-SOUTH")), 400, "cursor-malformed")

    run(scenario)


def test_a_territory_outside_the_token_is_denied_in_the_same_way_whether_or_not_it_exists(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        answers = [
            await device.get(f"/v1/territories/{name}/delta", {"X-Request-Id": "r1"})
            for name in ("T-SOUTH", "South", "T-NOWHERE", "Twin", "%2e%2e%2fT-NORTH")
        ]
        for answer in answers:
            assert_problem(answer, 403, "scope-denied")
        assert len({(answer.content, tuple(answer.headers.items())) for answer in answers}) == 1
        # A territory that the token names and the store does not have is not found, rather than denied.
        unknown = await running.device("T-NOWHERE").get("/v1/territories/T-NOWHERE/delta")
        assert_problem(unknown, 404, "not-found")

    run(scenario)


def _unsigned(claims: dict[str, Any], header: dict[str, str]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)]
    return ".".join([*parts, ""])


NOW = int(time.time())


@pytest.mark.parametrize(
    "bearer",
    [
        token(["T-NORTH"], exp=NOW - 60),
        token(["T-NORTH"], exp=None),
        token(["T-NORTH"], nbf=NOW + 600),
        token(["T-NORTH"], aud="another"),
        token(["T-NORTH"], aud=None),
        token(["T-NORTH"], secret=b"another secret of more than thirty-two bytes"),
        token(["T-NORTH"], algorithm="HS384"),
        jwt.encode({"aud": "territory-delta", "exp": NOW + 600}, SECRET),
        jwt.encode(VALID_CLAIMS | {"territories": "T-NORTH"}, SECRET),
        jwt.encode(VALID_CLAIMS | {"territories": [1]}, SECRET),
        _unsigned(VALID_CLAIMS, {"alg": "none", "typ": "JWT"}),
        _unsigned(VALID_CLAIMS, {"alg": "HS256", "typ": "JWT"}),
        "nonsense",
        "",
    ],
    ids=range(14),
)
def test_an_invalid_token_gets_no_information(run: RunScenario, bearer: str) -> None:
    async def scenario(running: Running) -> None:
        for path in ("/v1/territories/T-NORTH/delta", "/v1/delta", "/v1/territories", "/v1/territories/X/delta?a=b"):
            answer = await Device(running.client, bearer).get(path)
            assert_problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
        assert_problem(await running.stranger.get("/v1/delta"), 401, "unauthorized")

    run(scenario)


def test_small_clock_differences_are_tolerated(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH", exp=int(time.time()) - 10, nbf=int(time.time()) + 10)
        assert (await device.get("north")).status_code == 200

    run(scenario)


def test_a_cached_token_is_refused_after_it_has_expired(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH", exp=int(time.time()) - 28)
        assert (await device.get("north", since=4)).status_code == 200
        give_up = time.monotonic() + 10
        while (answer := await device.get("north", since=4)).status_code == 200:
            assert time.monotonic() < give_up
            await asyncio.sleep(0.05)
        assert_problem(answer, 401, "unauthorized")

    run(scenario)


@pytest.fixture(scope="module")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="module")
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def key_set(tmp_path: Path, rsa_key: rsa.RSAPrivateKey, ec_key: ec.EllipticCurvePrivateKey) -> Path:
    rsa_jwk = jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True) | {"kid": "rsa"}
    ec_jwk = jwt.algorithms.ECAlgorithm.to_jwk(ec_key.public_key(), as_dict=True) | {"kid": "ec"}
    symmetric = {"kty": "oct", "kid": "oct", "k": base64.urlsafe_b64encode(SECRET).decode()}
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps({"keys": [rsa_jwk, ec_jwk, symmetric]}))
    return path


def test_a_key_set_verifies_rs256_and_es256(
    run: RunScenario, key_set: Path, rsa_key: rsa.RSAPrivateKey, ec_key: ec.EllipticCurvePrivateKey
) -> None:
    async def scenario(running: Running) -> None:
        for key, algorithm, kid in ((rsa_key, "RS256", "rsa"), (ec_key, "ES256", "ec")):
            bearer = jwt.encode(VALID_CLAIMS, key, algorithm, headers={"kid": kid})
            assert (await Device(running.client, bearer).get("north")).status_code == 200
            for other in ("RS512", "PS256") if kid == "rsa" else ():
                bearer = jwt.encode(VALID_CLAIMS, key, other, headers={"kid": kid})
                assert_problem(await Device(running.client, bearer).get("north"), 401, "unauthorized")
        swapped = jwt.encode(VALID_CLAIMS, rsa_key, "RS256", headers={"kid": "ec"})
        assert_problem(await Device(running.client, swapped).get("north"), 401, "unauthorized")

    run(scenario, jwks=str(key_set))


def test_a_public_key_is_not_accepted_as_a_shared_secret(
    run: RunScenario, key_set: Path, rsa_key: rsa.RSAPrivateKey
) -> None:
    async def scenario(running: Running) -> None:
        public = rsa_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        content = _unsigned(VALID_CLAIMS, {"alg": "HS256", "kid": "rsa"}).removesuffix(".")
        mac = hmac.new(public, content.encode(), hashlib.sha256).digest()
        confused = f"{content}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
        assert_problem(await Device(running.client, confused).get("north"), 401, "unauthorized")
        # A symmetric key in the set is not accepted either.
        symmetric = jwt.encode(VALID_CLAIMS, SECRET, "HS256", headers={"kid": "oct"})
        assert_problem(await Device(running.client, symmetric).get("north"), 401, "unauthorized")

    run(scenario, jwks=str(key_set), jwt_secret=None)


def test_tokens_of_a_withdrawn_key_are_refused(
    run: RunScenario, key_set: Path, rsa_key: rsa.RSAPrivateKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(running: Running) -> None:
        device = Device(running.client, jwt.encode(VALID_CLAIMS, rsa_key, "RS256", headers={"kid": "rsa"}))
        assert (await device.get("north")).status_code == 200
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        new = jwt.algorithms.RSAAlgorithm.to_jwk(other.public_key(), as_dict=True) | {"kid": "new"}
        key_set.write_text(json.dumps({"keys": [new]}))
        later = time.monotonic() + 60
        monkeypatch.setattr(time, "monotonic", lambda: later)
        bearer = jwt.encode(VALID_CLAIMS, other, "RS256", headers={"kid": "new"})
        assert (await Device(running.client, bearer).get("north")).status_code == 200
        assert_problem(await device.get("north"), 401, "unauthorized")

    run(scenario, jwks=str(key_set))


def test_insecure_development_mode_serves_everything_to_this_machine_only(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        answer = await running.stranger.get("/v1/delta")
        assert answer.headers["sync-counts"] == "account=2, contact=1, order=0"
        cursor = answer.headers["sync-cursor"]
        assert (await running.stranger.get("/v1/delta", since=cursor)).headers["sync-cursor"] == cursor
        assert len((await running.stranger.get("/v1/territories")).json()["territories"]) == 4
        elsewhere = httpx.ASGITransport(running.service, client=("192.0.2.1", 5))
        async with httpx.AsyncClient(transport=elsewhere, base_url="http://service") as client:
            assert_problem(await client.get("/v1/delta"), 401, "unauthorized")

    run(scenario, jwt_secret=None, insecure_dev=True)


def test_the_service_does_not_start_without_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("DELTA_JWT_SECRET", "DELTA_JWKS", "DELTA_INSECURE_DEV"):
        monkeypatch.delenv(variable, raising=False)
    with pytest.raises(SettingsError, match="DELTA_JWT_SECRET"):
        ServiceSettings.from_environment()
    monkeypatch.setenv("DELTA_JWT_SECRET", "too short")
    with pytest.raises(SettingsError, match="32 bytes"):
        ServiceSettings.from_environment()


def test_before_the_first_publication_devices_are_told_to_wait(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with service_of(tmp_path, None) as running:
            device = running.device("T-NORTH")
            # First there is no file, then a store without a publication.
            for _ in range(2):
                await running.service.watch.look()
                for path in ("north", "/v1/territories", "/readyz"):
                    answer = await device.get(path)
                    assert_problem(answer, 503, "starting")
                    assert int(answer.headers["retry-after"]) > 0
                assert (await device.get("/healthz")).status_code == 200
                assert_problem(await running.stranger.get("/v1/delta"), 401, "unauthorized")
                writer = DeltaStoreWriter(tmp_path / "delta.sqlite")
                writer.initialise(IDENTITY)
            publish(writer, WORLDS)
            writer.close()
            await running.service.watch.look()
            assert (await device.get("north")).status_code == 200
            assert (await device.get("/readyz")).json()["publishedSeq"] == 4
            for file in tmp_path.glob("delta.sqlite*"):
                file.unlink()
            await running.service.watch.look()
            assert_problem(await device.get("north"), 503, "starting")

    asyncio.run(scenario())


@pytest.mark.parametrize("engine", ["sqlite"])
def test_a_broken_store_is_reported_as_unavailable_without_a_stack_trace(run: RunScenario, tmp_path: Path) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        running.writer.close()
        for file in tmp_path.glob("delta.sqlite*"):
            file.unlink()
        (tmp_path / "delta.sqlite").write_bytes(b"this is no database" * 1000)
        answer = await device.get("north", since=1)
        assert_problem(answer, 503, "store-unavailable")
        assert "Traceback" not in answer.text
        assert int(answer.headers["retry-after"]) > 0

    run(scenario)


def test_an_unexpected_error_is_a_500_without_details(run: RunScenario, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(running: Running) -> None:
        def fail(*_: object) -> None:
            raise RuntimeError("the secret is 42")

        monkeypatch.setattr(running.service.source, "settled", fail)
        answer = await running.device("T-NORTH").get("north", {"X-Request-Id": "from-the-device"}, since=1)
        assert_problem(answer, 500, "internal")
        assert answer.headers["x-request-id"] == "from-the-device"
        assert "42" not in answer.text

    run(scenario)


def test_first_syncs_are_rate_limited_unless_they_are_in_memory(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        device = running.device("T-NORTH")
        answers = [await device.get("north", limit=limit) for limit in range(1, 5)]
        assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
        assert_problem(answers[2], 429, "rate-limited")
        assert int(answers[2].headers["retry-after"]) > 0
        assert (await device.get("north", limit=1)).status_code == 200
        assert (await device.get("north", since=1)).status_code == 200

    run(scenario, snapshots_per_second=1)


def test_unknown_methods_and_paths_are_problem_documents(run: RunScenario) -> None:
    async def scenario(running: Running) -> None:
        for path in ("/v1/delta", "/docs"):
            answer = await running.client.post(path)
            assert_problem(answer, 405, "method-not-allowed")
            assert "GET" in answer.headers["allow"]
        for path in ("/", "/v1/territories//delta", "/v1/territories/a/b/delta", "/v2/delta"):
            assert_problem(await running.client.get(path), 404, "not-found")
        head = await running.client.head("/v1/delta", headers=running.device("T-NORTH").headers)
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 0

    run(scenario)
