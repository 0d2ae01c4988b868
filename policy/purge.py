"""CachePurge in compiled form: which stored responses ext_proc has to forget."""

from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

from policy.cache_key import cache_uri, uri_parts
from policy.errors import PolicyError
from protos.gateway.policy.v1 import cache_purge_pb2


@dataclass(frozen=True, slots=True)
class ByTag:
    tag: str


@dataclass(frozen=True, slots=True)
class ByPrefix:
    """Scheme and host of one origin, or "" for all; the path begins with `path`, to the letter."""

    scheme: str
    host: str
    path: str

    def covers(self, uri: str) -> bool:
        """
        Args:
            uri: a `cache_uri`.
        """
        scheme, host, path = uri_parts(uri)
        return path.startswith(self.path) and (not self.host or (scheme, host) == (self.scheme, self.host))


@dataclass(frozen=True, slots=True)
class ByUri:
    uri: str
    """A `cache_uri`."""


@dataclass(frozen=True, slots=True)
class Everything:
    pass


Purge: TypeAlias = ByTag | ByPrefix | ByUri | Everything


def compile_purge(message: cache_purge_pb2.CachePurge) -> Purge:
    """
    Raises:
        PolicyError: what is to be purged cannot be understood.
    """
    match message.WhichOneof("what"):
        case "tag":
            if not message.tag or any(character in message.tag for character in ", \t"):
                raise PolicyError(f"tag {message.tag!r}: is one word without commas")
            return ByTag(message.tag)
        case "prefix":
            if message.prefix.startswith("/"):
                return ByPrefix("", "", message.prefix)
            scheme, host, path = uri_parts(_uri("prefix", message.prefix))
            return ByPrefix(scheme, host, path)
        case "key":
            return ByUri(_uri("key", message.key))
        case "all":
            return Everything()
        case _:
            raise PolicyError("one of tag, prefix, key and all is needed")


def _uri(what: str, text: str) -> str:
    try:
        url = urlsplit(text)
    except ValueError:
        url = urlsplit("")
    if url.scheme not in ("http", "https") or not url.netloc:
        raise PolicyError(f"{what} {text!r}: is no URL of clients (https://host/path)")
    query = f"?{url.query}" if url.query or text.endswith("?") else ""
    return cache_uri(url.scheme, url.netloc, f"{url.path or '/'}{query}")
