"""Logs: one line an event, JSON unless a person is watching. Everything goes to stderr, stdout belongs to output.

Whoever logs never waits for the terminal or pipe behind it, and one event has so many lines and no more (log_lines.py).
"""

import atexit
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from gateway_runtime.log_lines import Lines, Repeats
from gateway_runtime.redaction import redact, without_secrets

LogFormat = Literal["auto", "json", "console"]
"""`auto` is console on a terminal and JSON elsewhere."""

LEVELS = ("debug", "info", "warning", "error")
_LIMITED_ITSELF = "audit"
"""A logger with a limit of its own, by the second."""
_QUIET_LIBRARIES = ("grpc._cython.cygrpc", "aiohttp.access", "asyncio")


@dataclass(frozen=True, slots=True)
class Logs:
    """What became of the lines of this process."""

    lines: Lines
    repeats: Repeats

    def dropped(self) -> Mapping[str, int]:
        """Lines that were not written since the start, by reason."""
        return {"queue_full": self.lines.dropped, "repeated": self.repeats.left_out_in_all}


def configure_logging(level: str = "info", format: LogFormat = "auto", *, process: str = "") -> Logs:
    """Set up structlog and the standard library's logging of this process; call it once, from `__main__`.

    Args:
        level: the lowest level that is written, one of LEVELS.
        format: how a line looks.
        process: written into each line as `process`, if not empty.

    SIGUSR1 makes the process write debug lines too, SIGUSR2 takes it back to `level`; nothing is restarted.
    """
    threshold = _Threshold(logging.getLevelNamesMapping()[level.upper()])
    as_json = format == "json" or (format == "auto" and not sys.stderr.isatty())
    shared = _shared_processors(process)
    renderers = _renderers(as_json)
    lines = Lines(sys.stderr, _dropped_in(as_json))
    atexit.register(lines.close)
    repeats = Repeats(time.monotonic)
    structlog.configure(
        processors=[threshold.drop_below, _without_repeats(repeats), *shared, *renderers],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=lambda *_: _LineLogger(lines),
        cache_logger_on_first_use=True,
    )
    _route_standard_library(threshold.level, shared, renderers, lines, repeats)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGUSR1, lambda *_: threshold.move(logging.DEBUG))
        signal.signal(signal.SIGUSR2, lambda *_: threshold.move(threshold.configured))
    return Logs(lines, repeats)


class _LineLogger:
    """What structlog hands finished lines to; its own takes a lock that a signal handler could wait for in vain."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def msg(self, message: str) -> None:
        self._lines.write(message + "\n")

    log = debug = info = warn = warning = error = exception = critical = fatal = failure = err = msg


def _dropped_in(as_json: bool) -> Callable[[int], str]:
    def line(count: int) -> str:
        event = {"event": "log_lines_dropped", "count": count, "level": "warning"}
        return (_to_json(event) if as_json else f"[warning  ] log_lines_dropped count={count}") + "\n"

    return line


def _without_repeats(repeats: Repeats) -> Processor:
    def processor(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if event.get("logger") == _LIMITED_ITSELF:
            return event
        left_out = repeats.left_out((event.get("logger"), event.get("event"), method))
        if left_out is None:
            raise structlog.DropEvent
        return {**event, "left_out": left_out} if left_out else event

    return processor


class _Threshold:
    """The lowest level that is written; it moves while the process runs."""

    def __init__(self, level: int) -> None:
        self.configured = self.level = level

    def move(self, level: int) -> None:
        self.level = level
        _set_standard_levels(level)
        logger("telemetry").warning("log_level_changed", level_now=logging.getLevelName(level).lower())

    def drop_below(self, _logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        if structlog.processors.NAME_TO_LEVEL[method] < self.level:
            raise structlog.DropEvent
        return event


def _shared_processors(process: str) -> list[Processor]:
    def name_process(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        if process:
            event["process"] = process
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        name_process,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]


def _renderers(as_json: bool) -> list[Processor]:
    if not as_json:
        render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), timestamp_key="time")
        # It formats exceptions itself, so its text is looked through once more.
        return [redact, lambda logger, method, event: without_secrets(render(logger, method, event))]
    return [structlog.processors.format_exc_info, redact, structlog.processors.JSONRenderer(serializer=_to_json)]


def _to_json(event: object, **_: object) -> str:
    return orjson.dumps(event, default=str).decode()


def _route_standard_library(
    threshold: int, shared: Sequence[Processor], renderers: Sequence[Processor], lines: Lines, repeats: Repeats
) -> None:
    """Libraries that use `logging` come out in the same form; chatty ones only from warning on."""
    handler: logging.StreamHandler[Lines] = logging.StreamHandler(lines)
    # By the text as it was written in the library: its arguments differ.
    handler.addFilter(lambda record: repeats.left_out((record.name, str(record.msg)[:200])) is not None)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers],
        )
    )
    logging.getLogger().handlers = [handler]
    _set_standard_levels(threshold)


def _set_standard_levels(threshold: int) -> None:
    logging.getLogger().setLevel(threshold)
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))


def logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """A logger whose lines carry `logger: name`."""
    return cast(structlog.typing.FilteringBoundLogger, structlog.get_logger().bind(logger=name))
