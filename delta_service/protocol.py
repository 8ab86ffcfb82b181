"""Uvicorn's HTTP protocol, which also answers known questions at once and ends connections that only hold memory."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Any, cast

from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from delta_service.answers import SMALL_BYTES, AsgiScope, Receive, Send, Wire
from delta_service.problems import refusal, request_id_of, too_many_connections
from delta_service.scoped_request import SERVICE, WIRE

if TYPE_CHECKING:
    from delta_service.app import DeltaService

log = logging.getLogger(__name__)

# Cursors of many territories make long query strings.
MAX_HEAD_BYTES = 262_144
HEAD_SECONDS = 30
# A reader that takes less than this while it may is as good as gone.
PROGRESS_BYTES = 65_536
# Of a large answer the kernel takes no more than this ahead of what is on its way: whoever polls meanwhile need not
# wait while megabytes are copied, and a slow reader holds less.
UNSENT_BYTES = 262_144
# Up to here it is cheaper to copy a body behind its head than to hand both to the kernel.
JOINED_BYTES = 32_768


class DeltaProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        service: DeltaService = app_state[SERVICE]
        self._watch = service.watch
        self._repeats = service.repeats
        self._asked_before = service.asked_before
        self._outflow = service.outflow
        self._turns = service.turns
        self._settings = service.settings
        self._refused = False
        self._between_requests = True
        self._requests_begun = 0
        # Not always the newest one: what is asked meanwhile makes a cycle too, which waits for its turn.
        self._whole: RequestResponseCycle | None = None
        self._head_bytes: int | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._answered_at = 0.0
        # A large answer that was found at once: until its turn comes, and until its reader has taken most of it.
        self._waiting: Wire | None = None
        self._on_its_way: bytes | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        if len(self.connections) > self._settings.connections:
            self._refused, self.app = True, cast(ASGI3Application, _refuse)
        # One that asks nothing is ended like one that asks nothing more.
        self._keep_alive()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()
        self._is_taken()
        for timer in (self._head_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()

    def data_received(self, data: bytes) -> None:
        if self._waiting is not None:
            # Answers leave in the order of their requests.
            self._write_waiting()
        idle = self._between_requests and (self.cycle is None or self.cycle.response_complete)
        # What a reader does not take must not pile up: then the ordinary way waits.
        at_once = idle and not self.flow.write_paused and not self._refused
        if at_once and (answer := self._repeats.find(data) or self._asked_before.find(data)) is not None:
            self._answer(answer)
            return
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.send_400_response("The head of this request is too large.")
                return
        begun = self._requests_begun
        super().data_received(data)
        if self._head_bytes is not None and self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._end, "the head of its request does not arrive")
        if idle and self._between_requests and self._requests_begun == begun + 1 and self._may_be_repeated():
            # The application's task has not begun. No other request gets this before its answer is complete.
            self._whole = self.cycle
            self.scope["extensions"] = {WIRE: {"request_bytes": data, "send_whole": self._send_whole}}

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._requests_begun += 1
        self._between_requests = False
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._head_bytes = None
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._between_requests = True

    def shutdown(self) -> None:
        # Who waits for news would hold the end up for a minute.
        self._watch.stop()
        self._write_waiting()
        super().shutdown()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_progress()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._is_taken()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def timeout_keep_alive_handler(self) -> None:
        quiet_seconds = self.loop.time() - self._answered_at
        if self._on_its_way is not None:
            self._keep_alive()
        elif quiet_seconds < self.timeout_keep_alive:
            self._keep_alive(self.timeout_keep_alive - quiet_seconds)
        else:
            super().timeout_keep_alive_handler()

    def write_whole(self, answer: Wire) -> None:
        """Head and body in one piece."""
        head = answer.status_line, self.server_state.default_headers[0][1], answer.lines
        if len(answer.body) < JOINED_BYTES:
            self.transport.write(b"%sdate: %s\r\n%s%s" % (*head, answer.body))
        else:
            self.transport.writelines((b"%sdate: %s\r\n%s" % head, answer.body))

    def _keep_alive(self, seconds: float | None = None) -> None:
        seconds = self.timeout_keep_alive if seconds is None else seconds
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _answer(self, answer: Wire) -> None:
        """Without the application."""
        self._answered_at = self.loop.time()
        if len(answer.body) <= SMALL_BYTES:
            self.write_whole(answer)
        else:
            self._waiting, self._on_its_way = answer, answer.body
            self._outflow.begin(answer.body)
            self._turns.take(self._write_waiting)

    def _write_waiting(self) -> None:
        """At its turn, unless it was written sooner."""
        answer, self._waiting = self._waiting, None
        if answer is not None and not self.transport.is_closing():
            self.write_whole(answer)
            if not self.flow.write_paused:
                self._is_taken()

    def _is_taken(self) -> None:
        if self._on_its_way is not None:
            self._outflow.end(self._on_its_way)
            self._on_its_way, self._answered_at = None, self.loop.time()

    async def _send_whole(self, answer: Wire) -> bool:
        """What the cycle's ``send`` does in three calls, with head and body in one piece."""
        cycle = self._whole
        assert cycle is not None
        if len(answer.body) > SMALL_BYTES:
            await self._turns.mine()
        # The ordinary way waits for a slow reader, or tells that the connection ends.
        if self.flow.write_paused or not cycle.keep_alive:
            return False
        if cycle.disconnected:
            return True
        cycle.response_started, cycle.waiting_for_100_continue = True, False
        self.write_whole(answer)
        if self.flow.write_paused:
            await self.flow.drain()
        cycle.response_complete = True
        # It may have been asked to end meanwhile.
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def _may_be_repeated(self) -> bool:
        return self.cycle is not None and self.cycle.keep_alive and self.scope["method"] == "GET"

    def _watch_progress(self) -> None:
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._stall_timer = self.loop.call_later(self._settings.stall_seconds, self._look_for_progress)

    def _look_for_progress(self) -> None:
        if self._unsent_bytes - self.transport.get_write_buffer_size() < PROGRESS_BYTES:
            self._end("its reader is too slow")
        else:
            self._watch_progress()

    def _end(self, why: str) -> None:
        if not self.transport.is_closing():
            log.info("a connection is cut off: %s", why)
        self.transport.abort()


async def _refuse(_: AsgiScope, receive: Receive, send: Send) -> None:
    await refusal(too_many_connections(), request_id_of(None)).send(send, receive)
