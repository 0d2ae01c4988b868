"""Which routes without a cache tell ext_proc of their writes, and for which methods."""

import pytest
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.ext_proc.v3 import ext_proc_pb2

from control_plane.resource_types import PROCESSING_POLICY, ROUTE_CONFIGURATION
from control_plane.snapshot import Snapshot
from control_plane.translate import translate
from control_plane.translate.names import EXT_PROC_FILTER
from protos.gateway.policy.v1 import processing_pb2
from tests.unit.control_plane.translate.gateways import gateway

ROUTES = """
defaults: {{auth: none}}
callouts: {{ext_proc: {{failure_mode: closed}}}}
routes:
  - {{name: reads, hosts: ["{hosts}"], match: {{{cached}, methods: [GET]}}, service: users, cache: {{}}}}
  - {{name: other, match: {{{other}}}, service: users}}
"""


def snapshot(cached: str, other: str, hosts: str = "*") -> Snapshot:
    return translate(gateway(ROUTES.format(cached=cached, other=other, hosts=hosts)), {}, {})


def invalidates(found: Snapshot) -> bool:
    policies = found.of_type(PROCESSING_POLICY).values()
    return any(processing_pb2.ProcessingPolicy.FromString(one.body).invalidates for one in policies)


@pytest.mark.parametrize(
    ("cached", "other", "expected"),
    [
        ("path_prefix: /api/users", "path_prefix: /api/users", True),
        ("path_prefix: /api/users", "path_prefix: /", True),
        ("path_prefix: /", "path_prefix: /api", True),
        ("path_prefix: /api", "path: /api/x", True),
        ("path: /api/x", "path_prefix: /api", True),
        ("path: /api/x", "path: /api/x, methods: [POST]", True),
        ("path: /api/x", 'path_regex: "/b.*"', True),
        ("path_prefix: /api/users", "path_prefix: /api/usersX", False),
        ("path_prefix: /api/users", "path_prefix: /api/events", False),
        ("path: /api/x", "path: /api/y", False),
        ("path: /api/x", "path: /api/x, methods: [GET, HEAD]", False),
    ],
)
def test_routes_that_overlap_a_cached_one_invalidate(cached: str, other: str, expected: bool) -> None:
    """Paths that both can match, and a method that may write."""
    assert expected is invalidates(snapshot(cached, other))


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [("a.example", True), ("*.example", True), ("b.example", False), ("*.other", False)],
)
def test_hosts_have_to_meet(hosts: str, expected: bool) -> None:
    """A write to another host changes nothing."""
    found = snapshot("path: /x", "path: /x", hosts)
    assert invalidates(found)
    narrow = ROUTES.replace("name: other, match", 'name: other, hosts: ["a.example"], match')

    found = translate(gateway(narrow.format(cached="path: /x", other="path: /x", hosts=hosts)), {}, {})

    assert expected is invalidates(found)


def test_only_unsafe_requests_pay_and_a_dead_ext_proc_does_not_stop_them() -> None:
    """Safe methods have an Envoy route of their own, without the filter."""
    (resource,) = snapshot("path: /x", "path: /x").of_type(ROUTE_CONFIGURATION).values()
    configuration = route_pb2.RouteConfiguration.FromString(resource.body)
    others = [route for route in configuration.virtual_hosts[0].routes if route.name == "other"]
    called = [EXT_PROC_FILTER in route.typed_per_filter_config for route in others]

    assert False in called
    assert called == sorted(called), "safe methods come first"
    for route in others:
        methods = [matcher for matcher in route.match.headers if matcher.name == ":method"]
        if EXT_PROC_FILTER not in route.typed_per_filter_config:
            assert "GET|HEAD|OPTIONS|TRACE" == methods[0].string_match.safe_regex.regex
            continue
        own = ext_proc_pb2.ExtProcPerRoute.FromString(route.typed_per_filter_config[EXT_PROC_FILTER].value)
        assert own.overrides.failure_mode_allow.value
