"""Whatever a gateway.yaml says, it has a clear fault or becomes a snapshot that the real Envoy takes."""

import json

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from control_plane.cli.envoy_check import envoy_fault
from control_plane.config.loading import load
from control_plane.translate import translate
from control_plane.validation.admission import Admission
from tests.unit.control_plane.config.documents import SECRET, MemoryFiles

pytestmark = [pytest.mark.envoy, pytest.mark.timeout(300)]

durations = st.sampled_from(["0s", "1ms", "250ms", "1s", "30s", "24h", "1000d", "315576000000s", "9" * 12 + "s"])
counts = st.sampled_from([0, 1, 3, 1024, 65_535, 4_294_967_295])
percents = st.sampled_from([0, 1, 50, 99, 100])
texts = st.sampled_from(
    [
        "a",
        "x-a",
        "X_A",
        "%",
        "%REQ(a)%",
        "é",
        " ",
        "a b",
        "\\1",
        "(",
        "a|b",
        "[a-z]+",
        "\u0000",
        "a" * 300,
        "host",
        ":x",
    ]
)
paths = st.sampled_from(["/", "/a", "/a/", "/a/b", "//", "/%2f", "/{x}", "/a?b", "/a#b", "/é", "a", "/..", "/*", "/a*"])
regexes = st.sampled_from(["/.*", "/a+", "/(a|b)", "(", "/[", "/a{1,1000}", "(?i)/a", "/\\d", "^/a$", "/(?=a)", ""])
hosts = st.sampled_from(["*", "a.example", "*.example", "A.Example", "a.example:80", "*a", "*.", "[::1]", "é"])
methods = st.lists(st.sampled_from(["GET", "POST", "get", "CONNECT", "X Y", "PURGE"]), max_size=2)
string_matches = st.sampled_from(["a", {"regex": "a.*"}, {"regex": "("}, {"present": True}, {"present": False}, ""])
headers = st.dictionaries(texts, st.sampled_from(["v", "%", "%%", "%START_TIME%", "é", "a\nb", ""]), max_size=2)
services = st.fixed_dictionaries(
    {},
    optional={
        "endpoints": st.lists(
            st.fixed_dictionaries(
                {"address": st.sampled_from(["10.0.0.1", "::1", "fe80::1", "a", "0.0.0.0"]), "port": counts},
                optional={"weight": counts, "zone": texts},
            ),
            max_size=2,
        ),
        "dns": st.fixed_dictionaries({"host": hosts, "port": counts}),
        "kubernetes": st.fixed_dictionaries({"namespace": texts, "service": texts, "port": texts}),
        "protocol": st.sampled_from(["http1", "http2", "grpc"]),
        "connect_timeout": durations,
        "load_balancing": st.sampled_from(
            [
                "round_robin",
                "least_request",
                "random",
                {"ring_hash": {"key": ["cookie:a"]}},
                {"maglev": {"key": ["user"]}},
            ]
        ),
        "circuit_breaker": st.fixed_dictionaries({}, optional={"max_requests": counts, "max_retries": counts}),
        "outlier_detection": st.fixed_dictionaries(
            {"consecutive_5xx": counts},
            optional={"interval": durations, "base_ejection_time": durations, "max_ejection_percent": percents},
        ),
        "health_check": st.fixed_dictionaries(
            {"path": paths}, optional={"interval": durations, "timeout": durations, "healthy_threshold": counts}
        ),
        "panic_threshold": percents,
    },
)
matches = st.fixed_dictionaries(
    {},
    optional={
        "path": paths | st.lists(paths, max_size=2),
        "path_prefix": paths,
        "path_regex": regexes,
        "methods": methods,
        "headers": st.dictionaries(texts, string_matches, max_size=2),
        "query": st.dictionaries(texts, string_matches, max_size=2),
    },
)
names = st.sampled_from(["users", "events"])
routes = st.fixed_dictionaries(
    {"match": matches, "auth": st.sampled_from(["none", {"any_of": ["jwt.main"]}])},
    optional={
        "service": names,
        "backends": st.lists(st.fixed_dictionaries({"service": names, "weight": counts}), max_size=3),
        "direct_response": st.fixed_dictionaries(
            {"status": st.sampled_from([100, 200, 204, 418, 599, 600])}, optional={"body": texts, "headers": headers}
        ),
        "redirect": st.fixed_dictionaries(
            {},
            optional={
                "status": st.sampled_from([301, 308, 200]),
                "host": hosts,
                "port": counts,
                "path": paths,
                "path_prefix": paths,
                "scheme": st.sampled_from(["http", "https", "x"]),
            },
        ),
        "hosts": st.lists(hosts, max_size=2),
        "timeout": durations,
        "retry": st.fixed_dictionaries(
            {
                "attempts": counts,
                "on": st.lists(st.sampled_from(["5xx", "503", "reset", "unavailable", "x"]), max_size=2),
            },
            optional={"per_try_timeout": durations, "budget": st.fixed_dictionaries({"percent": percents})},
        ),
        "rewrite": st.fixed_dictionaries(
            {},
            optional={
                "path": paths,
                "path_prefix": paths,
                "host": hosts,
                "regex": st.fixed_dictionaries({"match": regexes, "replace": texts}),
            },
        ),
        "mirror": st.fixed_dictionaries({"service": names}, optional={"percent": percents}),
        "cors": st.fixed_dictionaries(
            {
                "allow_origins": st.lists(
                    st.sampled_from(["*", "https://a.example", "https://*.a.example", "a"]), max_size=2
                )
            },
            optional={"allow_methods": methods, "max_age": durations, "allow_credentials": st.booleans()},
        ),
        "compression": st.fixed_dictionaries({}, optional={"min_size": st.sampled_from(["0", "1KiB", "5GiB"])}),
        "ip": st.fixed_dictionaries({"allow": st.lists(st.sampled_from(["10.0.0.0/8", "::/0", "10.0.0.1/33", "a"]))}),
        "max_request_body": st.sampled_from(["0", "1KiB", "3GiB", "5GiB"]),
        "cache": st.fixed_dictionaries({}, optional={"ttl": durations, "vary": st.lists(texts, max_size=1)}),
        "rate_limits": st.lists(st.sampled_from(["few", "none-such"]), max_size=1),
        "deprecation": st.sampled_from([{"since": "2026-01-01"}, {"since": "x"}]),
    },
)
listeners = st.fixed_dictionaries(
    {"name": st.just("public"), "port": st.sampled_from([1, 10_000, 65_535])},
    optional={
        "address": st.sampled_from(["127.0.0.1", "::1", "::", "a"]),
        "limits": st.fixed_dictionaries(
            {},
            optional={
                "request_body": st.sampled_from(["0", "1MiB", "3GiB", "5GiB"]),
                "request_headers": st.sampled_from(["0", "1KiB", "1GiB"]),
                "idle_timeout": durations,
                "request_timeout": durations,
                "drain": durations,
                "max_connections": counts,
            },
        ),
        "client_ip": st.sampled_from([{"trusted_hops": 1}, {"trusted_proxies": ["::/0"]}, {"proxy_protocol": True}]),
    },
)
documents = st.fixed_dictionaries(
    {
        "version": st.just(1),
        "name": st.just("fuzz"),
        "listeners": st.lists(listeners, min_size=1, max_size=1),
        "services": st.fixed_dictionaries({"users": services, "events": services}),
        "routes": st.lists(routes, min_size=1, max_size=3),
        "auth": st.just({"jwt": {"main": {"issuer": "i", "algorithms": ["HS256"], "secret": SECRET}}}),
        "rate_limits": st.just({"few": {"rate": "10/minute", "key": ["client_ip"]}}),
    }
)


def _check(document: dict[str, object], binary: str) -> None:
    """Faults are told with line and reason; what has none, Envoy takes whole."""
    for place, route in enumerate(document["routes"]):  # type: ignore[arg-type, var-annotated]
        route["name"] = f"r{place}"
    text = json.dumps(_sound(document))
    loaded = load("gateway.yaml", MemoryFiles({"gateway.yaml": text}), {})
    if loaded.gateway is None:
        assert loaded.faults
        assert all(fault.line and fault.message for fault in loaded.faults)
        return
    assert () == Admission().admit(translate(loaded.gateway, {}, loaded.materials), None).withheld
    assert envoy_fault("gateway.yaml", loaded.gateway, loaded.materials, binary) is None


def _sound(document: dict[str, object]) -> dict[str, object]:
    """The document without the entries that a fault names: otherwise hardly any would come as far as Envoy."""
    for _ in range(20):
        loaded = load("gateway.yaml", MemoryFiles({"gateway.yaml": json.dumps(document)}), {})
        if not loaded.faults:
            break
        assert all(fault.line and fault.message and "\n" not in str(fault) for fault in loaded.faults)
        removed = [_remove(document, fault.path) for fault in loaded.faults]
        if not any(removed):
            break
    return document


def _remove(document: dict[str, object], path: str) -> bool:
    """Take away the outermost key below a service, route or listener that stands in a path; services get endpoints."""
    parts = [part.rstrip("]") for part in path.replace("[", ".").split(".")]
    if len(parts) < 2 or parts[0] not in ("services", "routes", "listeners"):
        return False
    section = document[parts[0]]
    entry = section[int(parts[1])] if isinstance(section, list) else section[parts[1]]  # type: ignore[index]
    if len(parts) > 2 and parts[2] in entry and parts[2] not in ("match", "name"):
        del entry[parts[2]]
        return True
    if len(parts) > 3 and parts[2] == "match" and parts[3] in entry["match"]:
        del entry["match"][parts[3]]
        return True
    if parts[0] == "services":
        for kind in ("dns", "kubernetes"):
            entry.pop(kind, None)
        entry["endpoints"] = [{"address": "10.0.0.1", "port": 80}]
        return True
    if parts[0] == "routes":
        for kind in ("backends", "direct_response", "redirect"):
            entry.pop(kind, None)
        entry["service"] = "users"
        return True
    return False


@pytest.mark.parametrize("examples", [15, pytest.param(400, marks=[pytest.mark.long, pytest.mark.timeout(1800)])])
def test_any_configuration_is_taken_or_told(envoy_binary: str, examples: int) -> None:
    """The real `envoy --mode validate` is asked each time."""

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.reuse, Phase.generate],
    )
    @given(documents)
    def check(document: dict[str, object]) -> None:
        _check(document, envoy_binary)

    check()
