"""Key sets from a URL: rotation, outages, and answers that are not key sets."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from delta_service import keys
from delta_service.settings import SettingsError
from tests.delta_service.conftest import VALID_CLAIMS, Device, Running, RunScenario
from tests.delta_service.problems import assert_problem


class KeyServer:
    """Publishes a key set; ``document`` None makes it fail."""

    def __init__(self) -> None:
        self.document: bytes | None = b"{}"
        self.requests = 0
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher.requests += 1
                self.send_response(200 if publisher.document is not None else 500)
                self.end_headers()
                self.wfile.write(publisher.document or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/keys"

    def publish(self, **published: ec.EllipticCurvePrivateKey) -> None:
        algorithm = jwt.algorithms.ECAlgorithm
        jwks = [algorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid} for kid, key in published.items()]
        self.document = json.dumps({"keys": jwks}).encode()


@pytest.fixture
def key_server() -> Iterator[KeyServer]:
    key_server = KeyServer()
    thread = threading.Thread(target=key_server.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield key_server
    key_server.server.shutdown()
    thread.join()
    key_server.server.server_close()


def signed(key: ec.EllipticCurvePrivateKey, kid: str) -> str:
    return jwt.encode(VALID_CLAIMS, key, "ES256", headers={"kid": kid})


def test_keys_rotate_without_a_restart(
    run: RunScenario, key_server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    key_server.publish(old=old)

    async def scenario(running: Running) -> None:
        now = time.monotonic()
        clock = [now]
        monkeypatch.setattr(time, "monotonic", lambda: clock[0])
        old_device, new_device = (Device(running.client, signed(*pair)) for pair in ((old, "old"), (new, "new")))
        assert (await old_device.get("north")).status_code == 200
        assert_problem(await new_device.get("north"), 401, "unauthorized")
        key_server.publish(old=old, new=new)
        asked = key_server.requests
        # Anybody can invent key ids, so an unknown one does not always make the service read the set again.
        for _ in range(5):
            assert_problem(await Device(running.client, signed(new, "invented")).get("north"), 401, "unauthorized")
        assert key_server.requests == asked
        clock[0] += keys.RELOAD_UNKNOWN_SECONDS + 1
        assert (await new_device.get("north")).status_code == 200
        assert (await old_device.get("north")).status_code == 200, "both keys work while both are published"
        key_server.document = None
        clock[0] += keys.RELOAD_SECONDS + 1
        assert (await Device(running.client, signed(new, "new")).get("south")).status_code == 403
        assert (await new_device.get("north")).status_code == 200, (
            "an outage of the key server does not affect known keys"
        )
        key_server.publish(new=new)
        clock[0] += keys.RELOAD_SECONDS + 1
        again = jwt.encode(VALID_CLAIMS | {"sub": "again"}, new, "ES256", headers={"kid": "new"})
        assert (await Device(running.client, again).get("north")).status_code == 200
        assert_problem(await old_device.get("north"), 401, "unauthorized")

    run(scenario, jwks=key_server.url, jwt_secret=None)


@pytest.mark.parametrize("document", [b"{}", b'{"keys": []}', b"<html>", b"[1]", None])
def test_the_service_does_not_start_without_a_usable_key_set(
    run: RunScenario, key_server: KeyServer, document: bytes | None
) -> None:
    async def scenario(_: Running) -> None:
        raise AssertionError("it started")

    key_server.document = document
    with pytest.raises(SettingsError, match="DELTA_JWKS"):
        run(scenario, jwks=key_server.url, jwt_secret=None)
