"""Which stored URIs a successful unsafe request makes invalid (RFC 9111 section 4.4)."""

from urllib.parse import urljoin, urlsplit

from ext_proc.cache.fields import Headers
from policy.cache_key import QueryRules, cache_uri

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


def invalidated(
    method: str,
    scheme: str,
    authority: str,
    path: str,
    status: int,
    response: Headers,
    rules: QueryRules | None = None,
) -> tuple[str, ...]:
    """The `cache_uri`s of the target and of Location and Content-Location on the same origin; none after an error.

    A method that is not known to be safe counts as unsafe.

    Args:
        rules: which parameters are part of the key on the request's route; None: all of them.
    """
    if method in SAFE_METHODS or not 200 <= status < 400:
        return ()
    target = cache_uri(scheme, authority, path if rules is None else rules.applied(path))
    found = {target: None}
    for name in ("location", "content-location"):
        if name not in response:
            continue
        try:
            url = urlsplit(urljoin(f"{scheme}://{authority}{path}", response[name]))
        except ValueError:
            continue
        query = f"?{url.query}" if url.query else ""
        path_of_it = f"{url.path or '/'}{query}"
        uri = cache_uri(url.scheme, url.netloc, path_of_it if rules is None else rules.applied(path_of_it))
        if _origin(uri) == _origin(target):
            found[uri] = None
    return tuple(found)


def _origin(uri: str) -> str:
    """Scheme and host of a `cache_uri`, with their length prefixes."""
    rest = uri
    taken = 0
    for _ in range(2):
        length, _, rest = rest.partition(":")
        taken += len(length) + 1 + int(length)
        rest = rest[int(length) :]
    return uri[:taken]
