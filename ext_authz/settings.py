"""The process's flags: those of every callout, and what credentials and limits need."""

from argparse import ArgumentTypeError
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway_runtime import callout_flags
from gateway_runtime.callout_flags import Callout, CalloutFlags, CalloutSettings

_CALLOUT = Callout(
    module="ext_authz",
    variable="AUTHZ",
    description="Authentication and rate limits for Envoy (envoy.service.auth.v3).",
    port=9001,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(CalloutSettings):
    """What one process serves and how much it remembers."""

    limiter_keys: int
    token_cache: int
    share: int
    """How many workers divide the memory limits among themselves."""
    store_timeout_s: float
    """How long requests wait for a Redis that holds limits."""
    jwks_allow_http: bool
    jwks_allow_private: bool
    jwks_cooldown_s: float
    """Between two fetches of a key set, however many tokens name unknown keys."""


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Exits with status 2 and a message on stderr for what it does not understand."""
    common, flags = _flags(environment).parse(arguments)
    return Settings(
        **common,
        limiter_keys=flags.limiter_keys,
        token_cache=flags.token_cache,
        share=flags.share or flags.workers,
        store_timeout_s=flags.store_timeout,
        jwks_allow_http=flags.jwks_allow_http,
        jwks_allow_private=flags.jwks_allow_private,
        jwks_cooldown_s=flags.jwks_cooldown,
    )


def worker_arguments(settings: Settings) -> list[list[str]]:
    """The flags of each worker of a parent."""
    own = [
        *("--share", str(settings.share), "--store-timeout", str(settings.store_timeout_s)),
        *("--limiter-keys", str(settings.limiter_keys), "--token-cache", str(settings.token_cache)),
        "--jwks-allow-http" if settings.jwks_allow_http else "--no-jwks-allow-http",
        "--jwks-allow-private" if settings.jwks_allow_private else "--no-jwks-allow-private",
        *("--jwks-cooldown", str(settings.jwks_cooldown_s)),
    ]
    return callout_flags.worker_arguments(settings, own)


def _flags(environment: Mapping[str, str]) -> CalloutFlags:
    flags = CalloutFlags(_CALLOUT, environment)
    flags.add("--limiter-keys", "1000000", "rate limit buckets held in memory", int)
    flags.add("--token-cache", "20000", "verified tokens remembered", int)
    flags.add("--share", "0", "stores that divide the limits; 0: the workers", int)
    flags.add("--store-timeout", "0.05", "seconds that requests wait for Redis", float)
    flags.add_switch("--jwks-allow-http", "fetch key sets over plain http too")
    flags.add_switch("--jwks-allow-private", "fetch key sets from private addresses too")
    flags.add("--jwks-cooldown", "30", "seconds between two fetches of a key set, at least", _cooldown_s)
    return flags


def _cooldown_s(text: str) -> float:
    """Callers choose the `kid`s of their tokens, so it can be shortened and not turned off."""
    seconds = float(text)
    if not 1 <= seconds <= 3600:
        raise ArgumentTypeError("it has to be between 1 and 3600 seconds")
    return seconds
