"""Methods written as coroutines, on top of calls: unary ones, and streams that read and write.

A unary method may also answer at once, or by itself later, without a coroutine: then there is no task for its call.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import grpc

from gateway_runtime.http2.connection import INTERNAL, Call
from gateway_runtime.telemetry import logger

Answer = Callable[[bytes, Call], bytes | Coroutine[Any, Any, bytes | None] | None]
"""The answer at once, or a coroutine where something has to be waited for. None: the method keeps the call and answers
it by `Call.reply`, which does nothing if the caller has gone by then."""


class _Answering:
    """What receives for a call that its method will answer by itself: nothing that matters."""

    def receive(self, call: Call, message: bytes) -> None:
        """A second message of a unary call."""

    def half_close(self, call: Call) -> None:
        """The caller has no more to say."""

    def cancel(self, call: Call) -> None:
        """The call is closed, so its answer will be dropped."""


_ANSWERING = _Answering()


class Unary:
    """A unary method of one server."""

    __slots__ = ("_answer", "_tasks")

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._tasks: dict[Call, asyncio.Task[None]] = {}

    def __call__(self, _call: Call) -> "Unary":
        return self

    def receive(self, call: Call, message: bytes) -> None:
        answer = self._answer(message, call)
        if type(answer) is bytes:
            call.reply(answer)
        elif answer is None:
            call.receiver = _ANSWERING
        else:
            assert not isinstance(answer, bytes)
            self._tasks[call] = asyncio.get_running_loop().create_task(self._later(call, answer), name="unary call")

    def half_close(self, call: Call) -> None:
        if call not in self._tasks:
            call.finish(INTERNAL, "no message came")

    def cancel(self, call: Call) -> None:
        task = self._tasks.get(call)
        if task is not None:
            task.cancel()

    async def _later(self, call: Call, answer: Coroutine[Any, Any, bytes | None]) -> None:
        try:
            message = await answer
            if message is not None:
                call.reply(message)
            else:
                call.receiver = _ANSWERING
        except Exception:
            _report(call)
        finally:
            self._tasks.pop(call, None)


class Stream:
    """What a streaming method sees of its call; the same few methods as grpc.aio's context has."""

    __slots__ = ("_call", "_ended", "_messages", "_reader", "_writer")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._messages: deque[bytes] = deque()
        self._ended = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    @property
    def headers(self) -> dict[str, str]:
        return {name: str(value) for name, value in self.invocation_metadata()}

    def invocation_metadata(self) -> Iterable[tuple[str, str]]:
        """Names and values of the request's headers."""
        return self._call.invocation_metadata()

    async def read(self) -> bytes | None:
        """The next message; None when the caller has sent its last one."""
        while not self._messages:
            if self._ended:
                return None
            self._reader = asyncio.get_running_loop().create_future()
            await self._reader
        return self._messages.popleft()

    async def write(self, message: bytes) -> None:
        """Send a message, and wait until the peer takes it: whoever reads slowly costs one message, not all of them."""
        call = self._call
        call.send(message)
        if call.is_ahead:
            await asyncio.sleep(0)  # it goes to the transport, which may ask for a pause
        while call.pending and call.is_open:
            self._writer = asyncio.get_running_loop().create_future()
            call.on_sent = self._sent
            await self._writer

    def close(self, message: bytes) -> None:
        """Send the last message and end the call, in one write."""
        self._call.send(message)
        self._call.finish()

    def abort(self, status: grpc.StatusCode, text: str) -> None:
        """End the call with an error; what comes after it is dropped."""
        self._call.finish(status.value[0], text)

    # by the connection

    def _sent(self) -> None:
        if self._writer is not None and not self._writer.done():
            self._writer.set_result(None)

    def receive(self, message: bytes) -> None:
        self._messages.append(message)
        self._wake()

    def half_close(self) -> None:
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class Streaming:
    """A streaming method of one call: a task that ends with it."""

    __slots__ = ("_stream", "_task")

    def __init__(self, method: Callable[[Stream], Coroutine[Any, Any, None]], call: Call) -> None:
        self._stream = Stream(call)
        self._task = asyncio.get_running_loop().create_task(self._run(method, call), name="streaming call")

    def receive(self, _call: Call, message: bytes) -> None:
        self._stream.receive(message)

    def half_close(self, _call: Call) -> None:
        self._stream.half_close()

    def cancel(self, _call: Call) -> None:
        self._task.cancel()

    async def _run(self, method: Callable[[Stream], Coroutine[Any, Any, None]], call: Call) -> None:
        try:
            await method(self._stream)
            call.finish()
        except Exception:
            _report(call)


def _report(call: Call) -> None:
    """Nothing of an exception reaches the caller: Envoy writes a failed stream's details into its access log."""
    logger("http2").exception("call_failed", path=call.headers[b":path"].decode("latin-1"))
    call.finish(INTERNAL, "the call failed")
