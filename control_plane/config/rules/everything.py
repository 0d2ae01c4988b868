"""The table of rules."""

from control_plane.config.rules.auth import check_auth
from control_plane.config.rules.gateway import check_gateway
from control_plane.config.rules.limits import check_rate_limits
from control_plane.config.rules.listeners import check_listeners
from control_plane.config.rules.not_enforced import warn_not_enforced
from control_plane.config.rules.policies import check_policies
from control_plane.config.rules.report import Check
from control_plane.config.rules.routes import CheckedRoutes, check_routes
from control_plane.config.rules.services import check_envoys, check_services
from control_plane.config.rules.shadows import warn_shadowed_routes
from control_plane.config.rules.stores import check_stores


def check_everything(check: Check, checked: CheckedRoutes) -> None:
    """Run every rule; their order does not matter, faults are sorted by line.

    Args:
        checked: what is known of routes that have not changed.
    """
    check_gateway(check)
    check_listeners(check)
    check_services(check)
    check_envoys(check)
    check_auth(check)
    check_rate_limits(check)
    check_stores(check)
    check_policies(check, ("defaults",), check.gateway.defaults)
    check_routes(check, checked)
    warn_shadowed_routes(check)
    warn_not_enforced(check)
