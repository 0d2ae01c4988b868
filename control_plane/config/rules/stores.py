"""stores: where limits count and caches keep, and who shares that."""

from control_plane.config.model.services import Callout
from control_plane.config.rules.forms import url_fault
from control_plane.config.rules.report import Check

_SCHEMES = ("redis", "rediss", "redis+sentinel", "redis+cluster")


def check_stores(check: Check) -> None:
    """Report a store without its address, and memory that several processes would have to share."""
    stores, report = check.gateway.stores, check.report
    for key in ("rate_limits", "cache"):
        if getattr(stores, key) == "redis" and stores.redis is None and not report.was_cut(("stores", "redis")):
            report.fault(("stores", key), "redis needs an address (stores: {redis: {url: redis://host:6379}})")
    if stores.redis is not None and url_fault(stores.redis.url, _SCHEMES):
        # Never with the text itself: it may hold a password.
        message = "is not an address (redis://host:6379, rediss://, redis+sentinel://, redis+cluster://)"
        report.fault(("stores", "redis", "url"), message)
    _warn_of_split_memory(check)


def _warn_of_split_memory(check: Check) -> None:
    gateway, report = check.gateway, check.report
    routes = check.routes
    if gateway.stores.rate_limits == "memory" and (many := _several(gateway.callouts.ext_authz)):
        used = {name for route in routes for name in route.rate_limits}
        for name in sorted(used & gateway.rate_limits.keys()):
            message = f"each of {many} counts for itself (stores: {{rate_limits: redis}} counts once for all)"
            report.warn(("rate_limits", name), message)
    # With a Redis of any use nonces are there.
    if gateway.stores.redis is None and (many := _several(gateway.callouts.ext_authz)):
        for name in sorted(_signatures_in_use(check)):
            message = f"each of {many} knows the nonces of its own requests only: a replay to another one passes"
            report.warn(("auth", "signatures", name), message)
    if gateway.stores.cache == "memory" and (many := _several(gateway.callouts.ext_proc)):
        for place, route in enumerate(routes):
            if route.cache is not None:
                message = (
                    f"route {route.name!r}: each of {many} keeps its own answers (stores: {{cache: redis}} shares them)"
                )
                report.warn(("routes", place, "cache"), message)


def _signatures_in_use(check: Check) -> set[str]:
    references = {
        reference
        for route in check.routes
        if route.auth is not None
        for reference in route.auth.any_of or route.auth.all_of or ()
    }
    return {name for name in check.gateway.auth.signatures if f"signatures.{name}" in references}


def _several(callout: Callout) -> str | None:
    """How many processes answer a callout, if more than one may."""
    if callout.kubernetes is not None:
        return f"the replicas of {callout.kubernetes.namespace}/{callout.kubernetes.service}"
    count = len(callout.endpoints or ())
    return f"the {count} workers" if count > 1 else None
