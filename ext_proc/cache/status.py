"""Cache-Status (RFC 9211): what the cache did with one request; it answers "why is it not cached"."""

from typing import Literal

Forwarded = Literal["uri-miss", "vary-miss", "stale", "method", "bypass", "request"]
"""Why a request went upstream (RFC 9211 section 2.2)."""


def hit(name: str, ttl_s: int) -> str:
    """
    Args:
        name: the cache, as `Processing.cache_name` has it.
        ttl_s: freshness left; negative if a stale response was served.
    """
    return f"{name}; hit; ttl={ttl_s}"


def forwarded(
    name: str, reason: Forwarded, *, status: int | None = None, stored: bool = False, collapsed: bool = False
) -> str:
    """
    Args:
        status: the service's, where the client got another one.
        collapsed: the request did not go itself but got the answer of one that did.
    """
    parts = [f"{name}; fwd={reason}"]
    if status is not None:
        parts.append(f"fwd-status={status}")
    if stored:
        parts.append("stored")
    if collapsed:
        parts.append("collapsed")
    return "; ".join(parts)
