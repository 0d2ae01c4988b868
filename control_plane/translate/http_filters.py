"""The HTTP filter chain of a listener, and what each route says to its filters.

Order, on the way to the service (answers pass the filters in the opposite order):

 1. header_mutation: the client's address as a header that ext_authz may trust; last on the way back, so x-envoy-* is
    removed from, and Deprecation and Vary are put on, every answer: of services, caches, denials and Envoy itself.
 2. set_filter_state: the path for the access log, before anything rewrites it.
 3. cors: before ext_authz, see cors.py.
 4. rbac: refuses a Content-Length over the limit before anybody reads the body.
 5. ext_authz: everything behind it costs something that only callers who may pass should cost.
 6. buffer: counts bodies without a Content-Length, up to the limit.
 7. set_filter_state: the identity that ext_authz proved, for services that hash by user.
 8. compressors: before ext_proc, so that what ext_proc stores is not compressed and what it answers is.
 9. ext_proc: cache and transformations.
10. router.

ext_authz is on unless a route switches it off: a route that says nothing is denied. cors, the compressors and ext_proc
are `disabled: true` in the chain, and routes switch them on by configuring them.
"""

from collections.abc import Iterator, Mapping

from envoy.config.core.v3 import base_pb2, substitution_format_string_pb2
from envoy.extensions.filters.common.set_filter_state.v3 import value_pb2
from envoy.extensions.filters.http.cors.v3 import cors_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.http.set_filter_state.v3 import set_filter_state_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from google.protobuf.any_pb2 import Any

from control_plane.config.effective import EffectiveRoute
from control_plane.config.model.routes import Cors
from control_plane.translate import names
from control_plane.translate.body_limits import body_length_filter, body_limits_of_route, buffer_filter
from control_plane.translate.compression import compression_filters, compression_of_route
from control_plane.translate.cors import cors_policy
from control_plane.translate.ext_authz import authz_disabled, authz_filters, authz_of_route
from control_plane.translate.ext_proc import ext_proc_filter, ext_proc_of_route
from control_plane.translate.headers import header_mutation_filter, header_mutation_of_route
from control_plane.translate.messages import packed
from control_plane.translate.scope import ListenerScope

HttpFilter = http_connection_manager_pb2.HttpFilter


def http_filters(scope: ListenerScope) -> Iterator[HttpFilter]:
    """The chain of one listener; a listener that redirects everything needs none of it."""
    yield header_mutation_filter()
    yield request_path_filter()
    if scope.listener.redirect is None:
        yield from _filters_of_routes(scope)
    yield router_filter()


def _filters_of_routes(scope: ListenerScope) -> Iterator[HttpFilter]:
    if any(route.cors is not None for route in scope.routes):
        yield HttpFilter(name=names.CORS_FILTER, typed_config=packed(cors_pb2.Cors()), disabled=True)
    yield body_length_filter(scope)
    yield from authz_filters(scope)
    yield buffer_filter(scope)
    if _hashes_by_user(scope):
        yield identity_filter(scope)
    yield from compression_filters(scope.routes)
    if any(scope.policies_of(route).processing is not None for route in scope.routes):
        yield ext_proc_filter(scope)


def route_filters(scope: ListenerScope, route: EffectiveRoute) -> Mapping[str, Any]:
    """The per-route configurations of one route, by filter."""
    configurations = dict(authz_of_route(scope, route))
    configurations.update(body_limits_of_route(scope, route))
    configurations.update(compression_of_route(route))
    if route.cors is not None:
        configurations[names.CORS_FILTER] = packed(cors_policy(route.cors))
    if (mutations := header_mutation_of_route(route)) is not None:
        configurations[names.HEADER_MUTATION_FILTER] = mutations
    if (processing := ext_proc_of_route(scope, route)) is not None:
        configurations[names.EXT_PROC_FILTER] = processing
    return configurations


def preflight_filters(cors: Cors) -> Mapping[str, Any]:
    """Preflights reach neither callout."""
    return {names.CORS_FILTER: packed(cors_policy(cors)), names.EXT_AUTHZ_FILTER: authz_disabled()}


def request_path_filter() -> HttpFilter:
    """Remembers the path without query; Envoy's own note of it is a header that services would get."""
    return _filter_state(names.REQUEST_PATH_FILTER, names.REQUEST_PATH_STATE, "envoy.string", "%PATH(NQ:PATH)%")


def identity_filter(scope: ListenerScope) -> HttpFilter:
    """Makes the identity that ext_authz proved a value that a hash policy can read."""
    return _filter_state(
        names.IDENTITY_FILTER,
        names.IDENTITY_STATE,
        "envoy.hashable_string",
        f"%DYNAMIC_METADATA({names.EXT_AUTHZ_FILTER}:identity)%",
    )


def router_filter() -> HttpFilter:
    """suppress_envoy_headers: neither services nor clients see x-envoy-*."""
    return HttpFilter(name=names.ROUTER_FILTER, typed_config=packed(router_pb2.Router(suppress_envoy_headers=True)))


def _hashes_by_user(scope: ListenerScope) -> bool:
    return any(
        service.load_balancing.hash is not None and "user" in service.load_balancing.hash.key
        for route in scope.routes
        for service in scope.services_of(route)
    )


def _filter_state(name: str, key: str, factory: str, format_string: str) -> HttpFilter:
    value = value_pb2.FilterStateValue(
        object_key=key,
        factory_key=factory,
        format_string=substitution_format_string_pb2.SubstitutionFormatString(
            text_format_source=base_pb2.DataSource(inline_string=format_string), omit_empty_values=True
        ),
        skip_if_empty=True,
    )
    return HttpFilter(name=name, typed_config=packed(set_filter_state_pb2.Config(on_request_headers=[value])))
