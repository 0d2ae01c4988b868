"""version, name, mode, access_log, tracing, envoy_patches."""

from control_plane.config.rules.forms import name_fault, url_fault
from control_plane.config.rules.report import Check


def check_gateway(check: Check) -> None:
    """Report faults of the keys that hold no section of their own."""
    gateway, report = check.gateway, check.report
    if fault := name_fault(gateway.name):
        report.fault(("name",), fault)
    if gateway.tracing.otlp_endpoint and (fault := url_fault(gateway.tracing.otlp_endpoint, ("http", "https", "grpc"))):
        report.fault(("tracing", "otlp_endpoint"), fault)
    if not gateway.access_log.path.startswith("/"):
        report.fault(("access_log", "path"), f"{gateway.access_log.path!r} is not absolute (/dev/stdout)")
    for place, patch in enumerate(gateway.envoy_patches):
        path = ("envoy_patches", place)
        if patch.path and not patch.path.startswith("/"):
            report.fault((*path, "path"), f"{patch.path!r} is not a JSON pointer (/filter_chains/0, RFC 6901)")
        if patch.op in ("move", "copy") and patch.from_ is None:
            report.fault((*path, "from"), f"is missing (where to {patch.op} from)")
        if patch.op in ("add", "replace", "test") and "value" not in patch.model_fields_set:
            report.fault((*path, "value"), f"is missing (what to {patch.op})")
