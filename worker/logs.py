"""Logs: lines for machines where nobody looks, readable ones on a terminal, and never a password."""

import logging
import re
import sys
from collections.abc import Mapping
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

#: What stands in place of a password.
HIDDEN = "***"

#: The password of an address. As far as the last @ of the word: passwords hold colons, slashes and @ too.
_IN_ADDRESS = re.compile(r"(?P<before>\b[a-zA-Z][\w+.-]*://[^\s:/@]*):\S*@")

#: `password=…` of a connection string (quoted or not), of an address's query and of the environment.
_IN_SETTING = re.compile(
    r"(?P<before>(?:password|passwd|pwd)\s*=\s*)(?:''[^']+''|'(?:[^'\\]|\\.)*'|[^\s']\S*)", re.IGNORECASE
)

#: `PASSWORD '…'` of SQL, as in ALTER ROLE and the options of a user mapping; and `"password": "…"` of JSON.
_IN_STATEMENT = re.compile(r"(?P<before>\b(?:password|passwd|pwd)\s+E?)(?:'(?:[^'\\]|\\.)*')+", re.IGNORECASE)
_IN_JSON = re.compile(
    r"(?P<before>\"(?:\w*password|passwd|pwd|secret|token)\"\s*:\s*)\"(?:[^\"\\]|\\.)*\"", re.IGNORECASE
)

_SECRET_NAME = re.compile(r"password|passwd|secret|token", re.IGNORECASE)


def mask(text: str) -> str:
    """Hide the passwords of addresses and connection strings in a text; it may hide a little more."""
    text = _IN_ADDRESS.sub(rf"\g<before>:{HIDDEN}@", text)
    text = _IN_SETTING.sub(rf"\g<before>{HIDDEN}", text)
    text = _IN_STATEMENT.sub(rf"\g<before>'{HIDDEN}'", text)
    return _IN_JSON.sub(rf'\g<before>"{HIDDEN}"', text)


def mask_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Hide passwords in every value of an event, however deep: a structlog processor."""
    return {key: masked(key, value) for key, value in event.items()}


def masked(key: str, value: object) -> object:
    """A value under its key with the passwords hidden, however deep; what is no JSON becomes text."""
    if _SECRET_NAME.search(key):
        return HIDDEN
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return mask(value)
        case Mapping():
            return {str(name): masked(str(name), inner) for name, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [masked(key, inner) for inner in value]
        case _:
            return mask(str(value))


class _Writer(logging.Handler):
    """Writes to a stream, or to what `sys.stderr` is now: a live display puts itself there while it is up."""

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self._stream = stream

    def emit(self, record: logging.LogRecord) -> None:
        stream = self._stream or sys.stderr
        try:
            stream.write(self.format(record) + "\n")
            stream.flush()
        except OSError:
            # Whoever read it has gone, or the disk is full: a log line is no reason to stop a migration.
            return


def configure(*, stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Set logs up, ours and the libraries', for this process; to standard error unless `stream` is given.

    They are readable on a terminal, and a JSON object a line elsewhere.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        # A traceback as text, without the values of local variables: those would hold addresses.
        structlog.processors.format_exc_info,
    ]
    renderer: Processor = structlog.processors.JSONRenderer()
    if (stream or sys.stderr).isatty():
        renderer = structlog.dev.ConsoleRenderer()
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
        # Last before the rendering, so that nothing comes into the line behind its back.
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, mask_event, renderer],
    )
    handler = _Writer(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
