"""Headers that the gateway owns: what clients may not send, what every request and answer gets."""

from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime

from envoy.config.common.mutation_rules.v3 import mutation_rules_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    header_mutation_pb2 as early_header_mutation_pb2,
)
from envoy.type.matcher.v3 import string_pb2
from google.protobuf.any_pb2 import Any

from control_plane.config.effective import EffectiveRoute
from control_plane.config.model.routes import Deprecation
from control_plane.translate import names
from control_plane.translate.cors import response_mutations
from control_plane.translate.messages import APPEND, extension, formatted_header, header, packed
from control_plane.translate.policies import identity_headers
from control_plane.translate.scope import ListenerScope

Mutation = mutation_rules_pb2.HeaderMutation
_FORWARDING_HEADERS = ("forwarded", "x-real-ip")
_KEPT_REQUEST_ID_HEADER = "x-gateway-request-id"


def early_header_mutation(scope: ListenerScope) -> extension_pb2.TypedExtensionConfig:
    """What is done to a client's headers before Envoy itself or any filter looks at them.

    Here and not in the router (`request_headers_to_remove`), which runs last and would remove what ext_authz has set.
    Spellings with underscores need no mention: headers with an underscore are refused.
    """
    mutations = [_remove_prefix("x-envoy-"), _remove(names.CLIENT_IP_HEADER)]
    if not trusts_callers(scope):
        mutations += [_remove(name) for name in identity_headers(scope.gateway)]
    if is_behind_proxy(scope):
        mutations += _keep_valid_request_id()
    else:
        mutations += [
            _remove("x-request-id"),
            _remove_prefix("x-forwarded-"),
            *(_remove(name) for name in _FORWARDING_HEADERS),
        ]
    return extension(
        "envoy.http.early_header_mutation.header_mutation",
        early_header_mutation_pb2.HeaderMutation(mutations=mutations),
    )


def is_behind_proxy(scope: ListenerScope) -> bool:
    """Whether the peer is a proxy whose forwarding headers and request ids are believed."""
    return trusted_hops(scope) > 0 or scope.listener.client_ip.trusted_proxies is not None


def trusted_hops(scope: ListenerScope) -> int:
    """How many addresses at the end of X-Forwarded-For are believed; the callers that a sidecar trusts wrote one."""
    client_ip = scope.listener.client_ip
    configured = client_ip.trusted_hops or 0
    if client_ip.trusted_proxies is not None or client_ip.proxy_protocol:
        return configured
    return max(1, configured) if trusts_callers(scope) else configured


def trusts_callers(scope: ListenerScope) -> bool:
    """A sidecar believes callers whose certificate it has verified, and its own service on the outbound listeners.

    It believes their identity headers, their x-request-id and what they say about the client's address.
    """
    if scope.gateway.mode != "sidecar":
        return False
    return scope.listener.client_ca_file is not None or scope.listener.address in ("127.0.0.1", "::1")


def header_mutation_filter() -> http_connection_manager_pb2.HttpFilter:
    """First in the chain, so last on the way back."""
    mutations = header_mutation_pb2.Mutations(
        request_mutations=[
            Mutation(append=formatted_header(names.CLIENT_IP_HEADER, "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"))
        ],
        response_mutations=[_remove_prefix("x-envoy-")],
    )
    return http_connection_manager_pb2.HttpFilter(
        name=names.HEADER_MUTATION_FILTER,
        typed_config=packed(header_mutation_pb2.HeaderMutation(mutations=mutations)),
    )


def header_mutation_of_route(route: EffectiveRoute) -> Any | None:
    """Headers of every answer of a route: from a service, from the cache, a denial or an error; None for none."""
    mutations = list(_response_mutations(route))
    if not mutations:
        return None
    per_route = header_mutation_pb2.HeaderMutationPerRoute()
    per_route.mutations.response_mutations.extend(mutations)
    return packed(per_route)


def _response_mutations(route: EffectiveRoute) -> Iterator[Mutation]:
    if route.cors is not None:
        # The answer names the origin that asked, so a shared cache must not give it to another one.
        yield Mutation(append=header("vary", "origin", APPEND))
        yield from response_mutations(route)
    if route.deprecation is not None:
        yield from _deprecation(route.deprecation)


def _deprecation(deprecation: Deprecation) -> Iterator[Mutation]:
    """Deprecation is a structured-field date (RFC 9745), Sunset an HTTP date (RFC 8594)."""
    yield Mutation(append=header("deprecation", f"@{int(deprecation.since.timestamp())}"))
    if deprecation.sunset is not None:
        yield Mutation(append=header("sunset", _http_date(deprecation.sunset)))
    if deprecation.successor is not None:
        yield Mutation(append=header("link", f'<{deprecation.successor}>; rel="successor-version"', APPEND))


def _http_date(moment: datetime) -> str:
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def _keep_valid_request_id() -> list[Mutation]:
    """Keep a proxy's x-request-id if it is 1 to 128 visible ASCII characters, else Envoy makes one.

    Mutations run in order and one without a value adds nothing: the id moves aside if it is valid, is removed, and
    comes back.
    """
    sent = "request.headers['x-request-id']"
    # Not {1,128}: Envoy's CEL takes only small regexes.
    aside = f"%CEL({sent}.matches('^[!-~]+$') && size({sent}) <= 128 ? {sent} : '')%"
    return [
        _remove(_KEPT_REQUEST_ID_HEADER),
        Mutation(append=formatted_header(_KEPT_REQUEST_ID_HEADER, aside)),
        _remove("x-request-id"),
        Mutation(append=formatted_header("x-request-id", f"%REQ({_KEPT_REQUEST_ID_HEADER})%")),
        _remove(_KEPT_REQUEST_ID_HEADER),
    ]


def _remove(name: str) -> Mutation:
    return Mutation(remove=name)


def _remove_prefix(prefix: str) -> Mutation:
    return Mutation(
        remove_on_match=Mutation.RemoveOnMatch(key_matcher=string_pb2.StringMatcher(prefix=prefix, ignore_case=True))
    )
