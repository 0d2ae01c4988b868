"""CORS: who may read answers from a script, and the routes that answer preflights.

The filter stands before ext_authz, so preflights (which carry no credentials) are answered and 401, 403 and 429 bear
the CORS headers. A preflight's method is OPTIONS, so it needs a route of its own: it has the path, hosts and query of
the route it asks for and compares that route's methods with Access-Control-Request-Method. The request headers that
the route wants do not count, since a browser sends none of them with a preflight.
"""

import re
from collections.abc import Iterator

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.route.v3 import route_components_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf.wrappers_pb2 import BoolValue

from control_plane.config.effective import EffectiveRoute
from control_plane.config.model.routes import Cors
from control_plane.translate.matches import method_matcher, path_matches, present
from control_plane.translate.messages import formatted_header, regex
from control_plane.translate.names import OWN_RESPONSE_HEADERS

REQUESTED_METHOD = "access-control-request-method"
_NOWHERE = "x-envoy-nowhere"
_ORIGIN = "request.headers['origin']"
Mutation = mutation_rules_pb2.HeaderMutation


def preflight_routes(route: EffectiveRoute) -> Iterator[route_components_pb2.Route]:
    """Routes for the preflights of a route with CORS, without per-filter configuration.

    Envoy's filter answers on routes with a cluster only, and answers all preflights there are; this one leads nowhere,
    since no client can send the header that names the cluster.
    """
    for match in path_matches(route.match):
        match.headers.append(method_matcher(("OPTIONS",)))
        match.headers.append(present("origin"))
        if route.match.methods:
            match.headers.append(method_matcher(route.match.methods, REQUESTED_METHOD))
        else:
            match.headers.append(present(REQUESTED_METHOD))
        yield route_components_pb2.Route(
            name=route.name, match=match, route=route_components_pb2.RouteAction(cluster_header=_NOWHERE)
        )


def cors_policy(cors: Cors) -> cors_pb2.CorsPolicy:
    """The policy of a route."""
    policy = cors_pb2.CorsPolicy(
        allow_origin_string_match=[_origin(origin) for origin in cors.allow_origins],
        allow_methods=",".join(cors.allow_methods),
        allow_headers=",".join(cors.allow_headers),
        expose_headers=",".join(_exposed(cors)),
        allow_credentials=BoolValue(value=cors.allow_credentials),
        # One from another origin is answered without CORS headers instead of reaching a callout or a service.
        forward_not_matching_preflights=BoolValue(value=False),
    )
    if cors.max_age is not None:
        policy.max_age = str(int(cors.max_age.total_seconds()))
    return policy


def response_mutations(route: EffectiveRoute) -> Iterator[Mutation]:
    """The CORS headers of an answer that the filter leaves without: it knows only routes with a cluster.

    An operator without a value adds no header, so a request from elsewhere (or none) gets none.
    """
    if route.cors is None or route.kind == "proxy":
        return
    yield Mutation(append=formatted_header("access-control-allow-origin", _if_allowed(route.cors, _ORIGIN)))
    exposed = "'" + ",".join(_exposed(route.cors)) + "'"
    yield Mutation(append=formatted_header("access-control-expose-headers", _if_allowed(route.cors, exposed)))
    if route.cors.allow_credentials:
        yield Mutation(append=formatted_header("access-control-allow-credentials", _if_allowed(route.cors, "'true'")))


def _if_allowed(cors: Cors, value: str) -> str:
    """A CEL expression for a value if the Origin is allowed, '' otherwise."""
    patterns = "|".join(_origin_pattern(origin) for origin in cors.allow_origins)
    pattern = patterns.replace("\\", "\\\\").replace("'", "\\'")
    return f"%CEL({_ORIGIN}.matches('^({pattern})$') ? {value} : '')%"


def _exposed(cors: Cors) -> list[str]:
    own = [name for name in OWN_RESPONSE_HEADERS if name not in {header.lower() for header in cors.expose_headers}]
    return [*cors.expose_headers, *own]


def _origin(origin: str) -> string_pb2.StringMatcher:
    """Exact, or any depth of subdomains of `https://*.example.com`; a port that is not written is not allowed."""
    if origin == "*" or "*" not in origin:
        return string_pb2.StringMatcher(exact=origin)
    return string_pb2.StringMatcher(safe_regex=regex(_origin_pattern(origin)))


def _origin_pattern(origin: str) -> str:
    if origin == "*":
        return ".*"
    scheme, wildcard, rest = origin.partition("*.")
    return f"{_escaped(scheme)}([a-z0-9_-]+[.])+{_escaped(rest)}" if wildcard else _escaped(origin)


def _escaped(text: str) -> str:
    """Like re.escape, with [.] for a dot: no backslash that CEL and Envoy's formats would read in their own way."""
    return re.escape(text).replace("\\.", "[.]").replace("\\-", "-")
