"""Values that the tests of the cache share."""

from typing import Any

from ext_proc.cache.entry import Entry
from ext_proc.cache.fields import format_http_date
from ext_proc.cache.storing import Storable, entry, judge
from policy.fields import fields
from policy.processing import CacheRules, HeaderChanges, Processing, Scope
from policy.transforms import Redact, Rules, Transform, with_reads

NOW = 1_700_000_000.0
DATE = format_http_date(NOW)


def rules(**changes: Any) -> CacheRules:
    """RFC 9111 as it stands, public, but for the changes."""
    values: dict[str, Any] = {
        "ttl_s": None,
        "vary": (),
        "scope": Scope.PUBLIC,
        "max_body_bytes": 1000,
        "stale_while_revalidate_s": 0.0,
        "stale_if_error_s": 0.0,
        "ignore_no_store": False,
        "ignore_private": False,
        "ignore_set_cookie": False,
    }
    return CacheRules(**(values | changes))


def processing(cache: CacheRules | None = None, **changes: Any) -> Processing:
    values: dict[str, Any] = {
        "name": "proc-1",
        "digest": "d1",
        "cache_name": "edge",
        "cache": cache,
        "request": HeaderChanges(),
        "response": HeaderChanges(),
    }
    return Processing(**(values | changes))


def redacting(*names: str) -> Transform:
    """Of responses."""
    return with_reads(Transform(response=Rules(body=(Redact(fields(names)),))))


def stored(
    headers: dict[str, str], *, status: int = 200, body: bytes = b"0123456789", cache: CacheRules | None = None
) -> Entry:
    """What the store has of a response received at NOW."""
    headers = {"date": DATE} | headers
    judged = judge({}, status, headers, cache or rules(), from_upstream=True, now=NOW)
    assert isinstance(judged, Storable), judged
    return entry(judged, status=status, origin=headers, shown=headers, body=body, requested_at=NOW, received_at=NOW)
