"""Where what all replicas share is kept."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from policy.errors import PolicyError
from protos.gateway.policy.v1 import authz_pb2

REDIS_SCHEMES = ("redis", "rediss", "redis+sentinel", "redis+cluster")


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A Redis, and the part of it that is ours."""

    url: str = field(repr=False)
    """May hold a password, so it is never shown."""
    prefix: str


@dataclass(frozen=True, slots=True)
class RevocationList:
    """A set of revoked `jti` and `sub` that somebody else writes."""

    store: RedisAddress
    key: str
    """As it stands in Redis, without a prefix."""


def redis_address(message: authz_pb2.RedisStore, secrets: Mapping[str, bytes]) -> RedisAddress:
    """Raises PolicyError, without the address: the Secret is missing or holds none."""
    if message.url_secret not in secrets:
        raise PolicyError(f"the secret {message.url_secret!r} is not there")
    try:
        url = secrets[message.url_secret].decode()
        parts = urlsplit(url)
    except ValueError:
        raise PolicyError(f"the secret {message.url_secret!r} holds no address") from None
    if parts.scheme not in REDIS_SCHEMES or not parts.netloc:
        raise PolicyError(f"the secret {message.url_secret!r} holds no address of a Redis")
    return RedisAddress(url, message.prefix)
