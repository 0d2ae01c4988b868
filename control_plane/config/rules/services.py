"""services and callouts."""

from control_plane.config.faults import Path
from control_plane.config.model.services import Analytics, Callout, KubernetesService, LoadBalancing, Service
from control_plane.config.rules.forms import (
    cookie_fault,
    header_fault,
    hostname_fault,
    is_address,
    kubernetes_label_fault,
    name_fault,
    path_fault,
)
from control_plane.config.rules.ports import is_this_machine, own_port_fault
from control_plane.config.rules.report import Check, exactly_one

_KINDS = ("kubernetes", "dns", "endpoints", "local")
_MAX_WEIGHT_SUM = 4_294_967_295
"""Envoy refuses a sum of weights beyond uint32."""


def check_services(check: Check) -> None:
    """Report faults of every service, of both callouts and of who receives the access log."""
    for name, service in check.gateway.services.items():
        path: Path = ("services", name)
        if fault := name_fault(name):
            check.report.fault(path, fault)
        exactly_one(check, path, service, _KINDS)
        _check_addresses(check, path, service)
        _check_endpoints(check, (*path, "endpoints"), service)
        _check_load_balancing(check, (*path, "load_balancing"), service.load_balancing)
        _check_policies(check, path, service)
        _check_tls(check, (*path, "tls"), service)
    for name, callout in (
        ("ext_authz", check.gateway.callouts.ext_authz),
        ("ext_proc", check.gateway.callouts.ext_proc),
    ):
        _check_callout(check, ("callouts", name), callout)
    if isinstance(check.gateway.analytics, Analytics):
        _check_callout(check, ("analytics",), check.gateway.analytics)
    for name, timeout in (
        ("ext_authz", check.gateway.callouts.ext_authz.timeout),
        ("ext_proc", check.gateway.callouts.ext_proc.message_timeout),
    ):
        if not timeout:
            key = "timeout" if name == "ext_authz" else "message_timeout"
            check.report.fault(("callouts", name, key), "0s would wait for ever (more than 0s)")


def check_envoys(check: Check) -> None:
    """Report faults of the gateway's own Envoys."""
    envoys = check.gateway.envoys
    if envoys is None:
        return
    exactly_one(check, ("envoys",), envoys, ("kubernetes", "endpoints"))
    if envoys.kubernetes is not None:
        check_kubernetes(check, ("envoys", "kubernetes"), envoys.kubernetes)
    for place, endpoint in enumerate(envoys.endpoints or ()):
        if not is_address(endpoint.address):
            message = f"{endpoint.address!r} is not an IP address"
            check.report.fault(("envoys", "endpoints", place, "address"), message)


def _check_addresses(check: Check, path: Path, service: Service) -> None:
    report = check.report
    if service.kubernetes is not None:
        check_kubernetes(check, (*path, "kubernetes"), service.kubernetes)
    if service.dns is not None:
        if fault := hostname_fault(service.dns.host):
            report.fault((*path, "dns", "host"), fault)
        if is_this_machine(service.dns.host) and (fault := own_port_fault(service.dns.port)):
            report.fault((*path, "dns", "port"), f"service {path[-1]!r}: {fault}")
    if service.local is not None:
        if check.gateway.mode != "sidecar" and not report.was_cut(("mode",)):
            report.fault((*path, "local"), "stands in sidecars only (mode: sidecar, or endpoints)")
        if fault := own_port_fault(service.local):
            report.fault((*path, "local"), f"service {path[-1]!r}: {fault}")


def _check_endpoints(check: Check, path: Path, service: Service) -> None:
    report, seen = check.report, dict[tuple[str, int], int]()
    if service.endpoints is None:
        return
    for place, endpoint in enumerate(service.endpoints):
        if not is_address(endpoint.address):
            message = f"{endpoint.address!r} is not an IP address (for a host name: dns: {{host: ..., port: ...}})"
            report.fault((*path, place, "address"), message)
        elif is_this_machine(endpoint.address) and (fault := own_port_fault(endpoint.port)):
            report.fault((*path, place, "port"), f"service {path[1]!r}: {fault}")
        first = seen.setdefault((endpoint.address, endpoint.port), place)
        if first != place:
            message = f"{endpoint.address}:{endpoint.port} is given twice (first in {report.line((*path, first))})"
            report.fault((*path, place), message)
    total = sum(endpoint.weight for endpoint in service.endpoints)
    if not service.endpoints and not report.was_cut(path):
        report.warn(path, "is empty: every request is answered with 503")
    elif total > _MAX_WEIGHT_SUM:
        report.fault(path, "has weights that sum to more than 4294967295 (they are relative: use smaller ones)")
    elif not total and service.endpoints:
        report.fault(path, "has only endpoints of weight 0 (at least one of 1 or more)", keys=("endpoints",))


def _check_load_balancing(check: Check, path: Path, load_balancing: LoadBalancing) -> None:
    hashing = load_balancing.policy in ("ring_hash", "maglev")
    if hashing and load_balancing.hash is None:
        message = f"{load_balancing.policy} needs a key ({{{load_balancing.policy}: {{key: [cookie:session]}}}})"
        check.report.fault(path, message)
    if not hashing and load_balancing.hash is not None:
        check.report.fault(
            path, f"{load_balancing.policy} takes no parameters (load_balancing: {load_balancing.policy})"
        )
    for place, key in enumerate(load_balancing.hash.key if hashing and load_balancing.hash else ()):
        if fault := _hash_key_fault(key):
            check.report.fault((*path, load_balancing.policy, "key", place), fault)


def _hash_key_fault(key: str) -> str | None:
    kind, colon, name = key.partition(":")
    if kind == "cookie" and colon:
        return cookie_fault(name)
    if kind == "header" and colon:
        return header_fault(name)
    return (
        None if key in ("user", "client_ip") else f"{key!r} is not allowed (cookie:NAME, header:NAME, user, client_ip)"
    )


def _check_policies(check: Check, path: Path, service: Service) -> None:
    report = check.report
    if not service.connect_timeout:
        report.fault((*path, "connect_timeout"), "0s would never connect (more than 0s)")
    if service.health_check is not None:
        health = (*path, "health_check")
        if fault := path_fault(service.health_check.path, wanted="/health"):
            report.fault((*health, "path"), fault)
        for key in ("interval", "timeout"):
            if not getattr(service.health_check, key):
                report.fault((*health, key), "has to be more than 0s")
    outlier = service.outlier_detection
    if outlier is not None:
        for key in ("interval", "base_ejection_time"):
            if not getattr(outlier, key):
                report.fault((*path, "outlier_detection", key), "has to be more than 0s")


def _check_tls(check: Check, path: Path, service: Service) -> None:
    tls = service.tls
    if tls is None:
        return
    if (tls.certificate_file is None) != (tls.private_key_file is None):
        keys = ("certificate_file", "private_key_file")
        check.report.fault(
            path, "lacks a half of the client certificate (certificate_file and private_key_file)", keys=keys
        )
    if tls.sni is not None and (fault := hostname_fault(tls.sni)):
        check.report.fault((*path, "sni"), fault)
    if tls.insecure_skip_verify:
        if tls.ca_file is not None:
            check.report.fault((*path, "insecure_skip_verify"), "makes ca_file useless (one of the two)")
        check.report.warn((*path, "insecure_skip_verify"), "true trusts every server (ca_file)")


def _check_callout(check: Check, path: Path, callout: Callout) -> None:
    report = check.report
    exactly_one(check, path, callout, ("endpoints", "kubernetes"))
    if callout.kubernetes is not None:
        check_kubernetes(check, (*path, "kubernetes"), callout.kubernetes)
    if callout.endpoints == ():
        report.fault((*path, "endpoints"), "is empty (at least one)")
    for place, endpoint in enumerate(callout.endpoints or ()):
        at = (*path, "endpoints", place)
        if endpoint.path is not None:
            if endpoint.address is not None or endpoint.port is not None:
                report.fault(at, "has a path beside an address (address and port, or path)")
            if not endpoint.path.startswith("/"):
                report.fault((*at, "path"), f"{endpoint.path!r} is not absolute (/run/gateway/authz-0.sock)")
        elif endpoint.address is None or endpoint.port is None:
            report.fault(at, "lacks a part (address and port, or path)", keys=("address", "port", "path"))
        elif not is_address(endpoint.address):
            message = f"{endpoint.address!r} is not an IP address (or kubernetes: {{...}})"
            report.fault((*at, "address"), message)


def check_kubernetes(check: Check, path: Path, kubernetes: KubernetesService) -> None:
    """Report names that Kubernetes would not take."""
    for key in ("namespace", "service"):
        if fault := kubernetes_label_fault(getattr(kubernetes, key)):
            check.report.fault((*path, key), fault)
    port = kubernetes.port
    if port.isdigit():
        if not 1 <= int(port[:9]) <= 65535:
            check.report.fault((*path, "port"), f"{port} is out of range (1 to 65535, or a port's name)")
    elif fault := kubernetes_label_fault(port):
        check.report.fault((*path, "port"), fault)
