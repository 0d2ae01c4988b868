"""rate_limits."""

from control_plane.config.faults import Path
from control_plane.config.model.auth import RateLimit
from control_plane.config.model.routes import Authentication
from control_plane.config.rules.forms import header_fault, name_fault
from control_plane.config.rules.report import Check

_KEYS = "user, api_key, client_ip, route, header:NAME, claim:NAME, attribute:NAME"
_NEEDS: dict[str, tuple[str, ...]] = {
    "user": ("jwt", "api_keys", "signatures"),
    "api_key": ("api_keys",),
    "claim": ("jwt", "api_keys"),
    "attribute": ("jwt", "api_keys"),
}
"""What kind of authentication has to be there for a key to have a value; not listed: every request has one."""


def check_rate_limits(check: Check) -> None:
    """Report faults of every limit."""
    for name, limit in check.gateway.rate_limits.items():
        path: Path = ("rate_limits", name)
        if fault := name_fault(name):
            check.report.fault(path, fault)
        _check_keys(check, (*path, "key"), limit)
        burst = limit.rate.count if limit.burst is None else limit.burst
        if limit.rate.count and limit.cost > burst:
            key = "cost" if "cost" in limit.model_fields_set else "burst"
            message = f"a cost of {limit.cost} never fits into a burst of {burst} (cost at most burst)"
            check.report.fault((*path, key), message)
        if limit.by is not None and not limit.by.attribute:
            check.report.fault((*path, "by", "attribute"), "is empty (the name of an attribute)")


def _check_keys(check: Check, path: Path, limit: RateLimit) -> None:
    for place, key in enumerate(limit.key):
        if fault := _key_fault(key):
            check.report.fault((*path, place), fault)
        elif key in limit.key[:place]:
            check.report.fault((*path, place), f"{key!r} is given twice")
    if limit.key and all(key.startswith("header:") for key in limit.key):
        message = "a client evades this limit by changing the header (client_ip or user beside it)"
        check.report.warn(path, message)


def _key_fault(key: str) -> str | None:
    kind, colon, name = key.partition(":")
    if kind == "header" and colon:
        return header_fault(name)
    if kind in ("claim", "attribute") and colon:
        return None if name.strip() else f"{key!r} lacks a name ({kind}:NAME)"
    return None if key in ("user", "api_key", "client_ip", "route") else f"{key!r} is not allowed ({_KEYS})"


def impossible_key(limit: RateLimit, auth: Authentication | None) -> str | None:
    """The first key of a limit that no request to a route with this authentication can ever have."""
    kinds = kinds_of(auth)
    for key in limit.key:
        needed = _NEEDS.get(key.partition(":")[0])
        if needed is not None and kinds.isdisjoint(needed):
            return key
    return None


def kinds_of(auth: Authentication | None) -> frozenset[str]:
    """`jwt`, `api_keys`, `signatures`: what a route's authentication refers to."""
    references = () if auth is None else (auth.any_of or ()) + (auth.all_of or ())
    return frozenset(reference.partition(".")[0] for reference in references)
