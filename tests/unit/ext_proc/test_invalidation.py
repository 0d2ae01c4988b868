"""Unsafe requests make stored URIs invalid."""

import pytest

from ext_proc.cache.invalidation import invalidated
from policy.cache_key import cache_uri


@pytest.mark.parametrize(
    ("method", "status", "headers", "expected"),
    [
        ("POST", 200, {}, ["/a"]),
        ("BREW", 204, {}, ["/a"]),
        ("PUT", 302, {"location": "/b?x=1"}, ["/a", "/b?x=1"]),
        ("PUT", 201, {"location": "http://H/b", "content-location": "c"}, ["/a", "/b", "/c"]),
        ("PUT", 201, {"location": "http://other/b"}, ["/a"]),
        ("PUT", 201, {"location": "https://h/b"}, ["/a"]),
        ("PUT", 201, {"location": "http://[bad/"}, ["/a"]),
        ("POST", 400, {}, []),
        ("POST", 503, {}, []),
        ("GET", 200, {}, []),
        ("OPTIONS", 200, {}, []),
    ],
)
def test_invalidated(method: str, status: int, headers: dict[str, str], expected: list[str]) -> None:
    """RFC 9111 section 4.4: the target and same-origin Location and Content-Location, unless it failed."""
    uris = [cache_uri("http", "h", path) for path in expected]

    assert uris == list(invalidated(method, "http", "h", "/a", status, headers))
