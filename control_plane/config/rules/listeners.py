"""listeners."""

import ipaddress
from itertools import combinations

from control_plane.config.faults import Path
from control_plane.config.model.listeners import ClientIp, IpRules, Listener
from control_plane.config.rules.forms import is_address, name_fault, network_fault
from control_plane.config.rules.ports import is_loopback, own_port_fault
from control_plane.config.rules.report import Check, exactly_one

_MIB = 1024 * 1024
MAX_REQUEST_HEADERS = 8 * _MIB
"""HttpConnectionManager.max_request_headers_kb is at most 8192."""
MAX_REQUEST_BODY = 4096 * _MIB - 1
"""Buffer limits are uint32."""


def check_listeners(check: Check) -> None:
    """Report faults of every listener, and of listeners that clash."""
    gateway, report = check.gateway, check.report
    if not gateway.listeners and not report.was_cut(("listeners",)):
        report.fault(("listeners",), "is missing (at least one: {name: public, port: 10000})")
    for place, listener in enumerate(gateway.listeners):
        _check_listener(check, ("listeners", place), listener)
    if gateway.mode == "sidecar":
        _check_sidecar(check)
    for (first, a), (second, b) in combinations(enumerate(gateway.listeners), 2):
        if a.name == b.name:
            line = report.line(("listeners", first))
            report.fault(("listeners", second, "name"), f"{b.name!r} is given twice (first in {line})")
        if a.port == b.port and _overlap(a.address, b.address):
            report.fault(("listeners", second, "port"), f"port {b.port} is taken by the listener {a.name!r}")


def _check_sidecar(check: Check) -> None:
    inbound = [place for place, each in enumerate(check.gateway.listeners) if not is_loopback(each.address)]
    for place in inbound[1:]:
        first = check.gateway.listeners[inbound[0]].name
        message = f"is a second inbound listener of a sidecar, beside {first!r} (outbound ones: address: 127.0.0.1)"
        check.report.fault(("listeners", place), message)


def _overlap(a: str, b: str) -> bool:
    if not is_address(a) or not is_address(b):
        return a == b
    first, second = ipaddress.ip_address(a), ipaddress.ip_address(b)
    if first.version != second.version:
        return False
    return first == second or first.is_unspecified or second.is_unspecified


def _check_listener(check: Check, path: Path, listener: Listener) -> None:
    report = check.report
    if fault := name_fault(listener.name):
        report.fault((*path, "name"), fault)
    if not is_address(listener.address):
        message = f"{listener.address!r} is not an IP address (0.0.0.0 is every interface, 127.0.0.1 this machine)"
        report.fault((*path, "address"), message)
    if fault := own_port_fault(listener.port):
        report.fault((*path, "port"), f"listener {listener.name!r}: {fault}")
    _check_client_ip(check, (*path, "client_ip"), listener.client_ip)
    _check_tls(check, path, listener)
    if listener.ip is not None:
        check_ip(check, (*path, "ip"), listener.ip)
    _check_limits(check, (*path, "limits"), listener)


def _check_client_ip(check: Check, path: Path, client_ip: ClientIp) -> None:
    exactly_one(check, path, client_ip, ("trusted_hops", "trusted_proxies", "proxy_protocol"))
    if client_ip.proxy_protocol is False:
        check.report.fault((*path, "proxy_protocol"), "false says nothing (true, or trusted_hops: 0)")
    if client_ip.trusted_proxies is not None:
        check_networks(check, (*path, "trusted_proxies"), client_ip.trusted_proxies)
        if not client_ip.trusted_proxies:
            check.report.fault((*path, "trusted_proxies"), "is empty (networks, or trusted_hops: 0 for none)")


def _check_tls(check: Check, path: Path, listener: Listener) -> None:
    report = check.report
    if listener.tls is None:
        if listener.client_ca_file is not None:
            message = "asks for client certificates on a listener without TLS (add tls)"
            report.fault((*path, "client_ca_file"), message, keys=())
        return
    if not listener.tls:
        report.fault((*path, "tls"), "is empty (at least one certificate)")
    for place, certificate in enumerate(listener.tls):
        at: Path = (*path, "tls", place)
        if not report.is_written(at):
            at = (*path, "tls")
        files = (certificate.certificate_file, certificate.private_key_file)
        keys = ("certificate_file", "private_key_file", "kubernetes_secret")
        if certificate.kubernetes_secret is not None:
            if any(files):
                report.fault(at, "names files and a Secret (one of the two)")
            parts = certificate.kubernetes_secret.split("/")
            if len(parts) != 2 or not all(parts):
                message = f"{certificate.kubernetes_secret!r} is not a Secret (namespace/name)"
                report.fault((*at, "kubernetes_secret"), message)
        elif not all(files):
            report.fault(at, "lacks a half (certificate_file and private_key_file, or kubernetes_secret)", keys=keys)


def _check_limits(check: Check, path: Path, listener: Listener) -> None:
    limits, report = listener.limits, check.report
    if not 1024 <= limits.request_headers <= MAX_REQUEST_HEADERS:
        report.fault((*path, "request_headers"), "is out of range (1KiB to 8MiB)")
    if limits.request_body > MAX_REQUEST_BODY:
        report.fault((*path, "request_body"), "is too large (less than 4GiB)")


def check_ip(check: Check, path: Path, ip: IpRules) -> None:
    """Report what is no network, and rules that say nothing."""
    check_networks(check, (*path, "allow"), ip.allow)
    check_networks(check, (*path, "deny"), ip.deny)
    if not ip.allow and not ip.deny:
        check.report.fault(path, "says nothing (allow, deny or both)", keys=("allow", "deny"))


def check_networks(check: Check, path: Path, networks: tuple[str, ...]) -> None:
    """Report every entry that is no network."""
    for place, network in enumerate(networks):
        if fault := network_fault(network):
            check.report.fault((*path, place), fault)
