"""Takes secrets out of log lines, whoever wrote them there: the last processor before a line becomes text.

Nothing of ours logs a secret; this is for what libraries and exceptions say.
"""

import re
from collections.abc import Mapping

from structlog.typing import EventDict, WrappedLogger

REDACTED = "[redacted]"
_NAMES = re.compile(
    r"(?i)^(?:proxy-|x-)?(?:authorization|cookie|set-cookie|password|passwd|secret|client_secret|private_key|"
    r"token|access_token|refresh_token|id_token|jwt|signature|x-signature|x-api-key)$"
)
"""Keys whose values are secret, whatever they look like. Not `api_key`: there it is the id of one."""
_UNTOUCHED = frozenset({"exc_info", "stack_info"})
"""A renderer's to format: the text that it makes is looked through."""
_PATTERNS = (
    # A JWT, with or without its signature.
    (re.compile(r"\beyJ[\w-]{5,}\.[\w-]+(?:\.[\w-]*)?"), REDACTED),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{6,}"), rf"\1 {REDACTED}"),
    # The password of a URL (redis://user:password@host).
    (re.compile(r"(://[^/\s:@]*):[^/\s@]+@"), rf"\1:{REDACTED}@"),
    # A query parameter or assignment that says what it is.
    (
        re.compile(
            r"(?i)\b((?:access_|refresh_|id_)?token|password|(?:client_)?secret|x-api-key)(=|: ?)[^\s&,;'\"\[]+"
        ),
        rf"\1\2{REDACTED}",
    ),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.S), REDACTED),
)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor; the event's own name stays as it is unless a secret stands in it."""
    return {key: _without_secrets(key, value) for key, value in event.items()}


def without_secrets(text: str) -> str:
    """Text without what looks like a secret."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def _without_secrets(key: str, value: object) -> object:
    if value is None or isinstance(value, bool | int | float) or key in _UNTOUCHED:
        return value
    if _NAMES.match(key):
        return REDACTED
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {str(name): _without_secrets(str(name), below) for name, below in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_without_secrets("", below) for below in value]
    return without_secrets(str(value))
