"""One file, ten different faults, ten lines."""

from control_plane.config.loading import load
from tests.unit.control_plane.config.documents import MemoryFiles

TEXT = """\
version: 1
name: broken
listeners:
  - name: public
    port: 99999
  - name: admin
    port: 9901
services:
  users:
    endpoints: [{address: 127.0.0.1, port: 8101}]
    conect_timeout: 2s
  events:
    endpoints: [{address: 127.0.0.1, port: 8102, wieght: 3}]
auth:
  jwt:
    main: {issuer: i, algorithms: [RS256], secret: "${JWT_SECRET}"}
rate_limits:
  login: {rate: 10 per minute, key: [client_ip]}
routes:
  - name: users
    listeners: [public]
    match: {path_prefix: api/users, methods: [get]}
    service: user
    auth: {any_of: [jwt.mian]}
  - name: users
    listeners: [public]
    match: {path: /health}
    auth: none
    rate_limits: [login]
    direct_response: {status: 200}
    redirect: {path: /docs}
"""


def test_every_fault_is_reported_with_its_line() -> None:
    """Faults of form do not hide faults of meaning, nor the other way round."""
    loaded = load("gateway.yaml", MemoryFiles({"gateway.yaml": TEXT}), {})

    expected = """\
gateway.yaml:5:11: listeners[0].port: 99999 is too large (at most 65535)
gateway.yaml:7:11: listeners[1].port: listener 'admin': port 9901 is the gateway's own \
(Envoy's admin interface; any other port)
gateway.yaml:11:5: services.users.conect_timeout: unknown key (did you mean connect_timeout?)
gateway.yaml:13:50: services.events.endpoints[0].wieght: unknown key (did you mean weight?)
gateway.yaml:16:52: auth.jwt.main.secret: the variable JWT_SECRET is not set \
(set it, or give a default: ${JWT_SECRET:-...})
gateway.yaml:18:17: rate_limits.login.rate: '10 per minute' is not a rate \
(a number per second, minute, hour or day: 10/minute)
gateway.yaml:22:26: routes[0].match.path_prefix: 'api/users' does not begin with / (/api/users)
gateway.yaml:22:47: routes[0].match.methods[0]: 'get' is not a method (did you mean GET?)
gateway.yaml:23:14: routes[0].service: unknown service 'user' (did you mean users?)
gateway.yaml:24:21: routes[0].auth.any_of[0]: unknown authentication method 'jwt.mian' (did you mean jwt.main?)
gateway.yaml:25:11: routes[1].name: 'users' is given twice (first in line 20)
gateway.yaml:31:5: routes[1].redirect: cannot stand beside direct_response \
(exactly one of backends, service, direct_response, redirect)
"""
    assert expected.splitlines() == [str(fault) for fault in loaded.faults]
    assert loaded.gateway is None
