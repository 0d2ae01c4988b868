"""The names under which ext_proc's cache keeps responses; `gatewayctl explain` shows the same.

A key is text made of length-prefixed parts, so that no two different requests can share one by what they put between
separators. Three levels, each a prefix of the next:

* `cache_uri`: scheme, host, path and query; what an unsafe method invalidates, whoever stored it;
* `primary_key`: the URI under one route and one version of its policy, where the origin's Vary is remembered;
* `entry_key`: one variant of it, for one identity where the policy's scope is `user`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_LISTS = frozenset({"accept", "accept-charset", "accept-encoding", "accept-language"})
"""Their values are case-insensitive (RFC 9110 section 12.5); those of other fields are compared as they stand."""


_PARAMETER = re.compile(r"[^\s&#*]+\*?|\*")


def parameter_fault(name: str) -> str | None:
    """Why this can be no name in `QueryRules`; None if it can."""
    return None if _PARAMETER.fullmatch(name) else "is not a parameter's name (page, utm_*)"


@dataclass(frozen=True)
class QueryRules:
    """Which parameters of the query are part of the key; names are compared without being decoded."""

    allow: bool
    """`names` are part of it and all others are not; else the opposite."""
    names: tuple[str, ...]
    """A final `*` stands for any rest."""

    @cached_property
    def _exact(self) -> frozenset[str]:
        return frozenset(name for name in self.names if not name.endswith("*"))

    @cached_property
    def _prefixes(self) -> tuple[str, ...]:
        return tuple(name[:-1] for name in self.names if name.endswith("*"))

    def keeps(self, parameter: str) -> bool:
        """
        Args:
            parameter: `name=value` as it stands in the query.
        """
        name = _parameter_name(parameter)
        return (name in self._exact or name.startswith(self._prefixes)) is self.allow

    def applied(self, path: str) -> str:
        """A path with the parameters that count, in their order; without any of them, without the `?` too."""
        base, mark, query = path.partition("?")
        if not mark:
            return path
        kept = "&".join([parameter for parameter in query.split("&") if self.keeps(parameter)])
        return f"{base}?{kept}" if kept else base


def cache_uri(scheme: str, authority: str, path: str) -> str:
    """The effective request URI in the one form that equal URIs share.

    The host is in lower case and without the scheme's default port (RFC 9110 section 4.2.3). The query's parameters
    are sorted by name without being decoded: `a=1%26b=2` is one parameter and `a=1&b=2` are two. Parameters of the same
    name keep their order, which carries meaning. `/a` and `/a?` are different URIs.

    Args:
        scheme: lower case.
        authority: Host or :authority as the client sent it.
        path: path and query after Envoy's normalisation.
    """
    host = authority.lower()
    port = _DEFAULT_PORTS.get(scheme)
    if port is not None and host.endswith(port):
        host = host[: -len(port)]
    if "&" in path:
        base, _, query = path.partition("?")
        path = f"{base}?{sorted_query(query)}"
    return f"{len(scheme)}:{scheme}{len(host)}:{host}{len(path)}:{path}"


def uri_parts(uri: str) -> tuple[str, str, str]:
    """Scheme, host (with port if it is not the scheme's) and path with query of a `cache_uri`."""
    parts = []
    rest = uri
    for _ in range(3):
        length, _, rest = rest.partition(":")
        parts.append(rest[: int(length)])
        rest = rest[int(length) :]
    scheme, host, path = parts
    return scheme, host, path


def sorted_query(query: str) -> str:
    """The parameters in the order of their undecoded names; equal names stay in the order that they came in."""
    return "&".join(sorted(query.split("&"), key=_parameter_name))


def _parameter_name(parameter: str) -> str:
    return parameter.partition("=")[0]


def primary_key(namespace: str, uri: str) -> str:
    """Args:
    namespace: of the route and its policy's content (`policy.processing.cache_namespace`).
    """
    return f"{len(namespace)}:{namespace}{uri}"


def entry_key(primary: str, identity: str, variant: Iterable[tuple[str, str | None]]) -> str:
    """
    Args:
        identity: the proven identity under scope `user`, "" under scope `public`.
        variant: name and normalised value of each request header that selects, in the order of their names; None: the
            request has no such header, which is not the same as an empty one.
    """
    parts = [primary, str(len(identity)), ":", identity]
    for name, value in variant:
        parts.append(f"{len(name)}:{name}-" if value is None else f"{len(name)}:{name}{len(value)}:{value}")
    return "".join(parts)


def normalised_value(name: str, value: str) -> str:
    """A request header's value as it selects a variant: no difference by spaces around commas, nor, in lists of media
    types, languages and codings, by letter case (RFC 9111 section 4.1).
    """
    if name in _LISTS:
        value = value.lower()
    if "," not in value:
        return value.strip()
    return ",".join([item.strip() for item in value.split(",")])
