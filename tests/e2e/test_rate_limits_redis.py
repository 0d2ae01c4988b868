"""`gatewayctl up` with limits in Redis: what is counted outlives our processes, and other Envoys may count too."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.e2e.echo import echo
from tests.e2e.stack import GATEWAYCTL, Stack
from tests.e2e.waiting import until
from tests.ports import free_port
from tests.redis_servers import RedisServer, redis_running

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.redis,
    pytest.mark.xdist_group("rate limits in redis"),
    pytest.mark.timeout(120),
]

CONFIG = """
version: 1
name: counted
listeners: [{{name: public, port: {public}, address: 127.0.0.1}}]
services: {{echo: {{endpoints: [{{address: 127.0.0.1, port: {echo}}}]}}}}
rate_limits:
  few: {{rate: 3/hour, key: ["header:x-caller"]}}
  shared: {{rate: 4/hour, key: ["header:x-caller"]}}
  outage: {{rate: 2/hour, key: ["header:x-caller"], on_store_error: deny}}
stores: {{rate_limits: redis, redis: {{url: "${{REDIS_URL}}"}}}}
routes:
  - {{name: few, match: {{path_prefix: /few}}, service: echo, auth: none, rate_limits: [few]}}
  - {{name: shared, match: {{path_prefix: /shared}}, service: echo, auth: none, rate_limits: [shared]}}
  - {{name: outage, match: {{path_prefix: /outage}}, service: echo, auth: none, rate_limits: [outage]}}
"""
PASSWORD = "only-for-redis"

STOCK_ENVOY = """
admin: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {admin}}}}}}}
static_resources:
  listeners:
    - name: stock
      address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
      filter_chains:
        - filters:
            - name: http
              typed_config:
                "@type": {http}.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: stock
                http_filters:
                  - name: limits
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.ratelimit.v3.RateLimit
                      domain: {domain}
                      timeout: 2s
                      failure_mode_deny: true
                      enable_x_ratelimit_headers: DRAFT_VERSION_03
                      rate_limit_service:
                        transport_api_version: V3
                        grpc_service: {{envoy_grpc: {{cluster_name: limits}}}}
                  - name: router
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
                route_config:
                  virtual_hosts:
                    - name: all
                      domains: ["*"]
                      routes:
                        - match: {{prefix: /}}
                          route: {{cluster: echo}}
                      rate_limits:
                        - actions:
                            - generic_key: {{descriptor_key: limit, descriptor_value: {limit}}}
                            - request_headers: {{header_name: x-caller, descriptor_key: "header:x-caller"}}
  clusters:
    - name: echo
      load_assignment:
        cluster_name: echo
        endpoints:
          - lb_endpoints:
              - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {echo}}}}}}}
    - name: limits
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {{http2_protocol_options: {{}}}}
      load_assignment:
        cluster_name: limits
        endpoints:
          - lb_endpoints:
              - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {service}}}}}}}
"""


class Counted:
    """A gateway whose limits are in a Redis of its own."""

    def __init__(self, stack: Stack, redis: RedisServer, echo_port: int) -> None:
        self.stack = stack
        self.redis = redis
        self.echo_port = echo_port

    def statuses(self, path: str, caller: str, times: int) -> list[int]:
        headers = {"x-caller": caller}
        return [httpx.get(f"{self.stack.url}{path}", headers=headers).status_code for _ in range(times)]

    def metric(self, name: str) -> float:
        text = httpx.get(f"http://127.0.0.1:{self.stack.ports.ext_authz_admin}/metrics").text
        return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(f"{name} "))


@pytest.fixture(scope="module")
def counted(redis_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    folder = tmp_path_factory.mktemp("counted")
    with redis_running(redis_server, folder, "--requirepass", PASSWORD) as redis, echo(1) as service:
        made = Stack.make(folder)
        address = {"REDIS_URL": f"redis://:{PASSWORD}@127.0.0.1:{redis.port}/0"}
        stack = Stack(made.folder, made.port, {**address, "GATEWAY_AUTHZ_STORE_TIMEOUT": "0.3"})
        stack.config.write_text(CONFIG.format(public=stack.port, echo=service.ports[0]))
        started = stack.up("--no-demo")
        assert started.returncode == 0, started.stdout + started.stderr
        assert "not enforced" not in started.stderr
        try:
            yield Counted(stack, redis, service.ports[0])
        finally:
            stack.down()


def test_what_was_counted_outlives_the_process(counted: Counted) -> None:
    """Three an hour stay three an hour when ext_authz is killed; the refusal says when to come back."""
    before = counted.statuses("/few", "ann", 2)
    until(lambda: counted.metric("gateway_authz_limiter_store_up") == 1.0, "Redis in use")
    old = counted.stack.kill("ext_authz")
    counted.stack.until_restarted("ext_authz", old)
    until(lambda: counted.statuses("/few", "probe", 1) != [503], "ext_authz answers")
    after = counted.statuses("/few", "ann", 3)
    refused = httpx.get(f"{counted.stack.url}/few", headers={"x-caller": "ann"})

    assert ([200, 200], [200, 429, 429]) == (before, after)
    assert 0 < int(refused.headers["retry-after"]) <= 1200
    assert refused.headers["ratelimit"].startswith('"few";r=0;t=')
    assert '"few";q=3;w=3600' == refused.headers["ratelimit-policy"]


def test_redis_is_away_and_comes_back(counted: Counted) -> None:
    """local admits this replica's share, deny answers 503, readiness stays; then Redis knows of all that."""
    until(lambda: counted.metric("gateway_authz_limiter_store_up") == 1.0, "Redis in use")
    assert [200, 200] == counted.statuses("/shared", "bob", 1) + counted.statuses("/outage", "bob", 1)
    counted.redis.pause()
    try:
        away = counted.statuses("/shared", "carl", 5), counted.statuses("/outage", "bob", 1)
        until(lambda: counted.metric("gateway_authz_limiter_store_up") == 0.0, "Redis given up")
        # A replica that another test killed counts until it has been silent for 10 s.
        share = 4 // round(counted.metric("gateway_authz_limiter_replicas"))
        ready = httpx.get(f"http://127.0.0.1:{counted.stack.ports.ext_authz_admin}/readyz").status_code
    finally:
        counted.redis.resume()
    until(lambda: counted.metric("gateway_authz_limiter_store_up") == 1.0, "Redis in use")
    back = counted.statuses("/shared", "carl", 5), counted.statuses("/outage", "bob", 2)

    assert share in (2, 4)
    assert ([200] * share + [429] * (5 - share), [503]) == away
    assert 200 == ready
    assert ([200] * (4 - share) + [429] * (1 + share), [200, 429]) == back


def test_the_password_is_shown_nowhere(counted: Counted) -> None:
    """Neither what is rendered nor any log holds it."""
    rendered = counted.stack.run([*GATEWAYCTL, "render", str(counted.stack.config)])
    logs = [path.read_text() for path in (counted.stack.state_dir.path / "logs").iterdir()]

    assert 0 == rendered.returncode
    assert "rate_limit_store" in rendered.stdout
    assert all(PASSWORD not in text for text in (rendered.stdout, rendered.stderr, *logs))


@contextmanager
def stock_envoy(binary: str, folder: Path, counted: Counted, **names: str) -> Iterator[str]:
    """An Envoy with its own `ratelimit` filter in front of nothing; its URL."""
    port, config = free_port(), folder / "stock.yaml"
    numbers = {"port": port, "admin": free_port(), "service": counted.stack.ports.ext_authz, "echo": counted.echo_port}
    http = "type.googleapis.com/envoy.extensions.filters.network"
    config.write_text(STOCK_ENVOY.format(http=http, **numbers, **names))
    command = [binary, "-c", str(config), "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "off"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(os.environ))
    url = f"http://127.0.0.1:{port}"

    def is_up() -> bool:
        assert process.poll() is None, "Envoy ended"
        try:
            return httpx.get(url, headers={"x-caller": "nobody"}).status_code > 0
        except httpx.TransportError:
            return False

    try:
        until(is_up, "a stock Envoy")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=10)


def test_a_stock_ratelimit_filter_shares_the_buckets(counted: Counted, envoy_binary: str, tmp_path: Path) -> None:
    """What one Envoy took through RateLimitService is missing to the other through ext_authz."""
    with stock_envoy(envoy_binary, tmp_path, counted, domain="counted", limit="few") as url:
        answers = [httpx.get(url, headers={"x-caller": "dora"}) for _ in range(4)]

    assert [200, 200, 200, 429] == [answer.status_code for answer in answers]
    assert ["2", "1", "0", "0"] == [answer.headers["x-ratelimit-remaining"] for answer in answers]
    assert int(answers[-1].headers["retry-after"]) > 0
    assert [429] == counted.statuses("/few", "dora", 1)


@pytest.mark.parametrize("names", [{"domain": "nobody", "limit": "few"}, {"domain": "counted", "limit": "fwe"}])
def test_a_misspelt_name_lets_nothing_pass(
    counted: Counted, envoy_binary: str, tmp_path: Path, names: dict[str, str]
) -> None:
    """An unknown gateway or limit is an error, about which the filter's failure_mode_deny decides."""
    with stock_envoy(envoy_binary, tmp_path, counted, **names) as url:
        assert 500 == httpx.get(url, headers={"x-caller": "eve"}).status_code
