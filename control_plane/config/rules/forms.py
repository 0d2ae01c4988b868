"""The forms of names, addresses and expressions: each function returns what is wrong with a text, or None."""

import difflib
import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

import re2

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""RFC 9110 5.6.2: header names, methods, cookie names."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,126}")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.IGNORECASE)
_K8S_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_QUERY_NAME = re.compile(r"[^\x00-\x20&=#+%\x7f]+")
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT")
_RE2_OPTIONS = re2.Options()
_RE2_OPTIONS.log_errors = False

MAX_REGEX_PROGRAM_SIZE = 1000
"""Instructions that RE2 compiles an expression to; Envoy refuses a whole configuration for one with more."""
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length"}
)
"""RFC 9110 7.6.1, and the length that Envoy computes."""


def name_fault(text: str) -> str | None:
    """Names of routes, services, listeners, limits: they stand in logs, metrics, headers and resource names."""
    if _NAME.fullmatch(text):
        return None
    return f"{text!r} is not a name (letters, digits, . _ / -, beginning with a letter or digit, at most 127)"


def header_fault(text: str) -> str | None:
    """A header's name (RFC 9110 5.1)."""
    return None if _TOKEN.fullmatch(text) else f"{text!r} is not a header name (letters, digits, -, _)"


def settable_header_fault(text: str) -> str | None:
    """A header that a configuration may set or remove."""
    lower = text.lower()
    if fault := header_fault(text):
        return fault
    if lower in HOP_BY_HOP:
        return f"{text!r} belongs to the connection, not to the message (any other header)"
    if lower == "host":
        return "'host' cannot be changed here (rewrite: {host: ...})"
    if lower.startswith(("x-envoy-", "x-gateway-")):
        return f"{text!r} is the gateway's own (any header but x-envoy-* and x-gateway-*)"
    return None


def header_value_fault(text: str) -> str | None:
    """A header's value (RFC 9110 5.5)."""
    if any((ord(c) < 32 and c != "\t") or ord(c) == 127 for c in text):
        return "holds a control character (one line of text)"
    return None


def cookie_fault(text: str) -> str | None:
    """A cookie's name (RFC 6265 4.1.1)."""
    return None if _TOKEN.fullmatch(text) else f"{text!r} is not a cookie name (letters, digits, - _ .)"


def query_fault(text: str) -> str | None:
    """A query parameter's name, as it is after decoding."""
    return None if _QUERY_NAME.fullmatch(text) else f"{text!r} is not a query parameter's name (no blanks, & = # + %)"


def method_fault(text: str) -> str | None:
    """A request method; they are case-sensitive (RFC 9110 9.1)."""
    if text in _METHODS or (_TOKEN.fullmatch(text) and text == text.upper()):
        return None
    close = difflib.get_close_matches(text.upper(), _METHODS, 1, 0.6)
    hint = f"did you mean {close[0]}?" if close else "upper case: GET, POST, ..."
    return f"{text!r} is not a method ({hint})"


def hostname_fault(text: str) -> str | None:
    """A DNS name or an IP address."""
    if is_address(text):
        return None
    labels = text.removesuffix(".").split(".")
    if len(text) <= 253 and all(_LABEL.fullmatch(label) for label in labels) and not re.fullmatch(r"[0-9.]+", text):
        return None
    if not text.isascii():
        return f"{text!r} is not a host name (write it in its xn-- form)"
    return f"{text!r} is not a host name (api.example.com)"


def host_pattern_fault(text: str) -> str | None:
    """`*`, `api.example.com`, `*.example.com`."""
    if text == "*":
        return None
    wanted = "*, api.example.com or *.example.com"
    bracketed = re.fullmatch(r"\[([0-9a-f:.]+)\]", text)
    if bracketed:
        return None if is_address(bracketed[1]) else f"{text!r} is not a host ({wanted})"
    if re.search(r":[0-9]*$", text) and text.count(":") == 1:
        return f"{text!r} has a port, which is ignored in requests (write {text.partition(':')[0]})"
    if "/" in text:
        return f"{text!r} is not a host but a URL ({wanted})"
    body = text.removeprefix("*.")
    if "*" in body:
        return f"{text!r} has a * that is not its first label ({wanted})"
    return f"{text!r} is not a host ({wanted})" if hostname_fault(body) or text.endswith(".") else None


def is_address(text: str) -> bool:
    """Whether this is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text


def network_fault(text: str) -> str | None:
    """An address or a CIDR network."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            return f"{text!r} is not a network (10.0.0.0/8, 2001:db8::/32 or one address)"
        return f"{text!r} has bits set behind its prefix (did you mean {network}?)"
    return f"{text!r} is not a network (no zone)" if "%" in text else None


def path_fault(text: str, *, wanted: str = "/api/users") -> str | None:
    """A path to match or to rewrite to."""
    if not text.startswith("/"):
        return f"{text!r} does not begin with / ({wanted})"
    if "?" in text or "#" in text:
        return f"{text!r} holds a query or a fragment (the path alone)"
    if any(ord(c) <= 32 or ord(c) == 127 for c in text):
        return f"{text!r} holds a blank or a control character (percent-encoded: %20)"
    return None


def unreachable_path_fault(text: str) -> str | None:
    """Why no request has this path once Envoy has normalised it."""
    if "//" in text:
        return "no request has this path: // is merged before routing"
    if re.search(r"/\.\.?(/|$)", text):
        return "no request has this path: . and .. are resolved before routing"
    if re.search(r"%(2f|5c)", text, re.IGNORECASE) or "\\" in text:
        return "no request has this path: \\, %2F and %5C are refused with 400 or become /"
    if not text.isascii():
        return "no request has this path: outside ASCII, paths are percent-encoded"
    return None


def regex_fault(text: str) -> str | None:
    """A regular expression in RE2's syntax, which Envoy uses, not empty and not too large for it."""
    if not text:
        return "is an empty regular expression (.* matches everything)"
    try:
        size = re2.compile(text, _RE2_OPTIONS).programsize
    except re2.error as error:
        reason = (
            error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else str(error)
        )
        return f"is not a regular expression of RE2: {reason}"
    if size > MAX_REGEX_PROGRAM_SIZE:
        return f"is too large a regular expression: {size:,} instructions (at most {MAX_REGEX_PROGRAM_SIZE:,})"
    return None


def regex_groups(text: str) -> int:
    """How many groups a sound expression has."""
    return int(re2.compile(text, _RE2_OPTIONS).groups)


def regex_matches(pattern: str, text: str) -> bool:
    """Whether a sound expression matches the whole text."""
    return re2.compile(pattern, _RE2_OPTIONS).fullmatch(text) is not None


def url_fault(text: str, schemes: Sequence[str] = ("https", "http")) -> str | None:
    """An absolute URL."""
    wanted = f"{schemes[0]}://host/path"
    try:
        parts = urlsplit(text)
        port_is_valid = parts.port is None or parts.port > 0
    except ValueError:
        return f"{text!r} is not a URL ({wanted})"
    if parts.scheme not in schemes or not parts.hostname or not port_is_valid or re.search(r"\s", text):
        return f"{text!r} is not a URL ({wanted})"
    return None


def kubernetes_label_fault(text: str) -> str | None:
    """Names of namespaces, Services and ports (RFC 1123 labels)."""
    if _K8S_LABEL.fullmatch(text):
        return None
    return f"{text!r} is not a Kubernetes name (lower case letters, digits and -, at most 63)"
