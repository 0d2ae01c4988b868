"""Content codings (RFC 9110 section 8.4.1), decoded within a bound: a few KiB may stand for GiB."""

import gzip
import zlib

import brotli

from ext_proc.transform.problems import Cause, UnusableError, unreadable

CODINGS = ("gzip", "x-gzip", "deflate", "br")
_CHUNK = 64 * 1024


def coding_of(headers: dict[str, str]) -> str:
    """The body's content coding; "" for none.

    Raises:
        UnusableError: one that is not known, or several.
    """
    coding = headers.get("content-encoding", "").strip().lower()
    if coding in ("", "identity"):
        return ""
    if coding not in CODINGS:
        raise UnusableError(Cause.MEDIA_TYPE, "the body is in a content coding that the gateway does not know")
    return coding


def decoded(body: bytes, coding: str, limit: int) -> bytes:
    """
    Args:
        limit: of the decoded body, in bytes.

    Raises:
        UnusableError: over the limit, or not in this coding.
    """
    if not coding:
        return body
    try:
        plain = _unbrotlied(body, limit) if coding == "br" else _inflated(body, coding, limit)
    except (zlib.error, brotli.error, EOFError):
        raise unreadable(f"the body is not valid {coding}") from None
    if len(plain) > limit:
        raise UnusableError(Cause.TOO_LARGE, f"the body is larger than {limit} bytes when it is decoded")
    return plain


def _inflated(body: bytes, coding: str, limit: int) -> bytes:
    """Members of a gzip file follow one another (RFC 1952 section 2.2)."""
    window = zlib.MAX_WBITS if coding == "deflate" else zlib.MAX_WBITS | 16
    parts: list[bytes] = []
    size = 0
    while body:
        inflating = zlib.decompressobj(window)
        part = inflating.decompress(body, limit + 1 - size)
        size += len(part)
        parts.append(part)
        if size > limit:
            break
        if not inflating.eof:
            raise EOFError
        body = inflating.unused_data
        if body and coding == "deflate":
            raise EOFError
    return b"".join(parts)


def _unbrotlied(body: bytes, limit: int) -> bytes:
    decoding = brotli.Decompressor()
    parts: list[bytes] = []
    size = 0
    waiting = body
    while not decoding.is_finished() and size <= limit:
        part = decoding.process(waiting, output_buffer_limit=_CHUNK)
        waiting = b""
        if not part and not decoding.is_finished() and decoding.can_accept_more_data():
            raise EOFError
        size += len(part)
        parts.append(part)
    return b"".join(parts)


def encoded(body: bytes, coding: str) -> bytes:
    """The same bytes give the same bytes: no times of day in gzip."""
    match coding:
        case "":
            return body
        case "br":
            compressed: bytes = brotli.compress(body, quality=4)
            return compressed
        case "deflate":
            return zlib.compress(body)
        case _:
            return gzip.compress(body, compresslevel=6, mtime=0)
