"""The process's flags: those of every callout, and what the cache needs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway_runtime import callout_flags
from gateway_runtime.callout_flags import Callout, CalloutFlags, CalloutSettings

_MIB = 1024 * 1024
_CALLOUT = Callout(
    module="ext_proc",
    variable="PROC",
    description="Response cache and transformations for Envoy (envoy.service.ext_proc.v3).",
    port=9002,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(CalloutSettings):
    """What one process serves and how much it holds."""

    cache_mib: int
    cache_entries: int
    wait_s: float
    """The longest that a request waits for another's response; shorter than Envoy's max_message_timeout."""
    store_timeout_s: float
    """How long a request waits for a Redis that holds responses."""

    @property
    def cache_bytes(self) -> int:
        return self.cache_mib * _MIB


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Exits with status 2 and a message on stderr for what it does not understand."""
    common, flags = _flags(environment).parse(arguments)
    return Settings(
        **common,
        cache_mib=flags.cache_mib,
        cache_entries=flags.cache_entries,
        wait_s=flags.wait,
        store_timeout_s=flags.store_timeout,
    )


def worker_arguments(settings: Settings) -> list[list[str]]:
    """The flags of each worker of a parent; the memory is divided among them."""
    workers = len(settings.addresses)
    own = [
        *("--cache-mib", str(max(1, settings.cache_mib // workers))),
        *("--cache-entries", str(max(1, settings.cache_entries // workers))),
        *("--wait", str(settings.wait_s), "--store-timeout", str(settings.store_timeout_s)),
    ]
    return callout_flags.worker_arguments(settings, own)


def _flags(environment: Mapping[str, str]) -> CalloutFlags:
    flags = CalloutFlags(_CALLOUT, environment)
    flags.add("--cache-mib", "256", "MiB of responses held in memory, by all workers", int)
    flags.add("--cache-entries", "200000", "responses held in memory, by all workers", int)
    flags.add("--wait", "10.0", "seconds that a request waits for another's response at most", float)
    flags.add("--store-timeout", "0.1", "seconds that requests wait for a Redis that holds responses", float)
    return flags
