"""HTTP for one CRM session: bounded in time and size, never following a redirect with credentials."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests

from orchestration.crm.errors import CrmAnswerError, CrmTooHeavy, CrmUnavailable

CONNECT_TIMEOUT_SECONDS = 10.0
READ_TIMEOUT_SECONDS = 120.0
ANSWER_TIMEOUT_SECONDS = 300.0  # for an answer that keeps dripping
MAX_ANSWER_BYTES = 64 * 1024 * 1024  # after decompression: a gzip bomb stops here
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class Reply:
    """``date`` is the server's clock by the Date header, UTC, where there is one."""

    status: int
    content: bytes
    date: datetime | None


class HttpSession:
    """A ``requests`` session with its own cookies and connection."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._timeout = (CONNECT_TIMEOUT_SECONDS, READ_TIMEOUT_SECONDS)
        self._session = requests.Session()
        self._session.headers.update({"Accept-Encoding": "gzip", "User-Agent": "territory-delta"})

    def post(self, body: bytes, soap_action: str) -> Reply:
        headers = {"Content-Type": "text/xml; charset=utf-8", "SOAPAction": f'"{soap_action}"'}
        return self._send("POST", headers=headers, body=body)

    def get(self, headers: Mapping[str, str] | None = None, parameters: Mapping[str, str] | None = None) -> Reply:
        return self._send("GET", headers=headers or {}, parameters=parameters)

    def has_cookie(self, name: str) -> bool:
        return any(cookie.name == name for cookie in self._session.cookies)

    def forget_cookies(self) -> None:
        self._session.cookies.clear()

    def close(self) -> None:
        self._session.close()

    def _send(
        self,
        method: str,
        headers: Mapping[str, str],
        parameters: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        try:
            with self._session.request(
                method,
                self._url,
                headers=dict(headers),
                params=parameters,
                data=body,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
            ) as response:
                return Reply(response.status_code, _read(response), _date(response))
        except requests.exceptions.ContentDecodingError as error:
            # Seen on real pods: from here on this session asks for plain answers.
            self._session.headers["Accept-Encoding"] = "identity"
            raise CrmAnswerError("the answer's compression is damaged") from error
        except requests.exceptions.ReadTimeout as error:
            raise CrmTooHeavy(f"the CRM did not answer within {self._timeout[1]:g} s") from error
        except requests.exceptions.RequestException as error:
            if isinstance(error, requests.exceptions.ConnectionError) and "Read timed out" in str(error):
                raise CrmTooHeavy(f"the CRM stopped answering for {self._timeout[1]:g} s") from error
            if isinstance(error, requests.exceptions.ChunkedEncodingError):
                raise CrmAnswerError("the answer was cut off") from error
            raise CrmUnavailable(f"cannot reach the CRM at CRMOD_URL: {type(error).__name__}") from error


def _read(response: requests.Response) -> bytes:
    deadline = time.monotonic() + ANSWER_TIMEOUT_SECONDS
    content = bytearray()
    for chunk in response.iter_content(_CHUNK_BYTES):
        content += chunk
        if len(content) > MAX_ANSWER_BYTES:
            raise CrmAnswerError(f"the answer is larger than {MAX_ANSWER_BYTES // 1024**2} MiB")
        if time.monotonic() > deadline:
            raise CrmTooHeavy(f"the answer was not complete after {ANSWER_TIMEOUT_SECONDS:g} s")
    return bytes(content)


def _date(response: requests.Response) -> datetime | None:
    try:
        return parsedate_to_datetime(response.headers["Date"]).astimezone(UTC)
    except (KeyError, ValueError, TypeError):
        return None
