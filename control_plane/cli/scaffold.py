"""The gateway.yaml that `gatewayctl init` writes."""

FIRST = """\
# A first configuration: one service, one route behind a JWT, one public route.
# Every key: docs/reference/configuration.md. Check it with: gatewayctl validate gateway.yaml
version: 1
name: gateway

listeners:
  - {name: public, port: 10000}

services:
  users:
    endpoints: [{address: 127.0.0.1, port: 8101}]

auth:
  jwt:
    main:
      issuer: https://auth.example.com
      algorithms: [HS256]
      secret: "${JWT_SECRET}"   # at least 32 bytes; gatewayctl reads .env beside this file
      forward_claims: {sub: x-user-id}

rate_limits:
  per-user: {rate: 100/minute, burst: 20, key: [user]}

defaults:
  auth: {any_of: [jwt.main]}
  timeout: 10s

# The first match wins, in this order.
routes:
  - name: health
    match: {path: /health}
    auth: none
    direct_response: {status: 200, body: '{"status":"ok"}', content_type: application/json}
  - name: users
    match: {path_prefix: /api/users}
    service: users
    rewrite: {path_prefix: /users}
    rate_limits: [per-user]
"""
