"""Warns of sections that are read and checked, but not enforced by this version."""

from control_plane.config.not_enforced import NOT_ENFORCED
from control_plane.config.rules.report import Check


def warn_not_enforced(check: Check) -> None:
    """Name every place of the file that this version does not act upon."""
    for feature in NOT_ENFORCED:
        for path in feature.used(check.gateway):
            check.report.warn(path, f"not enforced yet: {feature.what}")
