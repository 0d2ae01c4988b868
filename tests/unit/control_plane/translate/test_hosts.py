"""First match wins over all hosts, although Envoy picks the most specific virtual host first."""

from envoy.config.route.v3 import route_pb2
from hypothesis import given
from hypothesis import strategies as st

from control_plane import resource_types
from control_plane.translate import translate
from control_plane.translate.routes import covers
from tests.unit.control_plane.translate.gateways import gateway

PATTERNS = ("*", "example.com", "api.example.com", "*.example.com", "*.eu.example.com", "a.eu.example.com", "other.org")
HOSTS = (
    "example.com",
    "api.example.com",
    "a.eu.example.com",
    "b.eu.example.com",
    "x.example.com",
    "other.org",
    "new.net",
)


def _means(pattern: str, host: str) -> bool:
    """The contract: `*`, a name, or `*.name` at any depth but not the name itself."""
    return pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))


def _virtual_host(configuration: route_pb2.RouteConfiguration, host: str) -> list[str]:
    """What Envoy does: exact names, then the longest suffix, then everything."""
    by_domain = {h.domains[0]: [r.name for r in h.routes] for h in configuration.virtual_hosts}
    suffixes = sorted((d for d in by_domain if d.startswith("*.") and host.endswith(d[1:])), key=len, reverse=True)
    for domain in (host, *suffixes, "*"):
        if domain in by_domain:
            return by_domain[domain]
    return []


@given(st.lists(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3, unique=True), min_size=1, max_size=5))
def test_each_host_sees_its_routes_in_file_order(hosts_of_routes: list[list[str]]) -> None:
    """For every Host, Envoy walks exactly the routes that mean it, in the order of the file."""
    routes = "".join(
        f"  - {{name: r{i}, hosts: {[*hosts]!r}, match: {{path: /{i}}}, auth: none, direct_response: {{}}}}\n"
        for i, hosts in enumerate(hosts_of_routes)
    )
    snapshot = translate(gateway("routes:\n" + routes), {}, {})
    body = snapshot.of_type(resource_types.ROUTE_CONFIGURATION)["public"].body
    configuration = route_pb2.RouteConfiguration.FromString(body)

    for host in HOSTS:
        expected = [f"r{i}" for i, hosts in enumerate(hosts_of_routes) if any(_means(p, host) for p in hosts)]
        assert expected == _virtual_host(configuration, host)


def test_covers() -> None:
    """A wildcard covers names and wildcards below it, not the domain itself and nothing above."""
    assert covers("*", "a.example.com")
    assert covers("*.example.com", "a.example.com")
    assert covers("*.example.com", "*.eu.example.com")
    assert not covers("*.example.com", "example.com")
    assert not covers("*.eu.example.com", "*.example.com")
    assert not covers("*.example.com", "*.badexample.com")
    assert not covers("a.example.com", "*.example.com")
