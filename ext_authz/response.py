"""Decision -> CheckResponse, in bytes. What a policy says to every caller is encoded when the policy arrives."""

import json
from collections.abc import Iterable, Mapping

from ext_authz import wire
from ext_authz.decision import Allow, Deny
from ext_authz.limiter.charges import Standing
from ext_authz.reasons import Reason, Refusal
from ext_authz.request import Request
from policy.authz import ApiKeys, Authentication, JwtProvider, Method, Place, Policy, Signatures
from policy.claims import TOLD_CLAIM, Claims, claim_at, header_text
from policy.quotas import Limit, Quota

_VISIBLE = frozenset(map(chr, range(0x21, 0x7F))) - {'"', "\\"}
_NOTHING: frozenset[str] = frozenset()


class LimitHeader:
    """RateLimit and RateLimit-Policy of one quota (draft-ietf-httpapi-ratelimit-headers-10)."""

    def __init__(self, limit: Limit, quota: Quota) -> None:
        printable = "".join(character if " " <= character <= "~" else "?" for character in limit.name)
        quoted = printable.replace("\\", "\\\\").replace('"', '\\"')
        self._name = f'"{quoted}"'.encode()  # a structured field's string, RFC 9651 section 3.3.3
        self.policy = b"%b;q=%d;w=%d" % (self._name, quota.burst, _seconds(quota.capacity_us))
        self.policy_field = wire.response_header("ratelimit-policy", self.policy)

    def value(self, standing: Standing) -> bytes:
        return b"%b;r=%d;t=%d" % (self._name, standing.remaining, _seconds(standing.reset_us))


class Replies:
    """Encodes the answers of one policy."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        rules = policy.authentication
        hidden: Mapping[Place, frozenset[str]] = rules.hidden if rules else {}
        self._hidden_cookies = hidden.get(Place.COOKIE, _NOTHING)
        self._hidden_parameters = hidden.get(Place.QUERY, _NOTHING)
        self._hides_in_place = bool(self._hidden_cookies or self._hidden_parameters)
        self._identity_names = policy.identity_headers
        self._told_claims = policy.told_claims
        self._removed = frozenset(_with_underscores(policy.identity_headers)) | hidden.get(Place.HEADER, _NOTHING)
        self._removals: dict[frozenset[str], bytes] = {}
        self._limit_headers: dict[tuple[str, int, int], LimitHeader] = {}

    def allowed(self, decision: Allow, request: Request) -> bytes:
        """The identity's headers are set; those that it does not have, and credentials, are removed."""
        identity, standing, _, would_deny = decision
        names, fields, metadata = _NOTHING, b"", b""
        if identity is not None:
            names, fields, metadata = identity.header_names, identity.header_fields, identity.metadata_fields
            if self._told_claims:
                metadata += _told(self._told_claims, identity.claims)
        removal = self._removals.get(names)
        fields += self._removal(names) if removal is None else removal
        if self._hides_in_place:
            fields += self._hiding(request)
        if standing is not None:
            header = self._limit_header(standing)
            fields += wire.rate_limit_header(header.value(standing)) + header.policy_field
        if would_deny is not None:
            metadata += wire.metadata_field("shadow_reason", would_deny.reason.label)
        return wire.allowed(fields, metadata)

    def denied(self, decision: Deny, request: Request) -> bytes:
        rules = self._policy.authentication
        headers: list[tuple[str, bytes]] = []
        if rules is not None and decision.reason.refusal in (Refusal.UNAUTHENTICATED, Refusal.FORBIDDEN):
            challenge = _challenge(rules, decision)
            if challenge:
                headers.append(("www-authenticate", challenge))
        if decision.standing is not None:
            header = self._limit_header(decision.standing)
            headers += [("ratelimit", header.value(decision.standing)), ("ratelimit-policy", header.policy)]
            if decision.reason is Reason.RATE_LIMIT:
                headers.append(("retry-after", b"%d" % max(1, _seconds(decision.standing.retry_after_us))))
        return denied(decision, request, headers)

    def _removal(self, set_names: frozenset[str]) -> bytes:
        """Never names a header that is set: Envoy removes last."""
        removal = wire.removed_headers(sorted(self._removed - set_names))
        if len(self._removals) < 256:
            self._removals[set_names] = removal
        return removal

    def _hiding(self, request: Request) -> bytes:
        fields = b""
        if any(request.cookies(name) for name in self._hidden_cookies):
            rest = request.cookies_without(self._hidden_cookies)
            fields += wire.request_headers([("cookie", rest)]) if rest else wire.removed_headers(["cookie"])
        spellings = (request.query_spellings(name) for name in self._hidden_parameters)
        return fields + wire.removed_query_parameters(sorted(set().union(*spellings)))

    def _limit_header(self, standing: Standing) -> LimitHeader:
        key = (standing.limit.name, standing.quota.interval_us, standing.quota.burst)
        known = self._limit_headers.get(key)
        if known is None:
            known = self._limit_headers[key] = LimitHeader(standing.limit, standing.quota)
        return known


def _told(names: Iterable[str], claims: Claims) -> bytes:
    """Metadata for the templates of ext_proc; a claim that cannot be one line of text is not told."""
    told = b""
    for name in names:
        try:
            text = header_text(claim_at(claims, name))
        except ValueError:
            continue
        if text is not None:
            told += wire.metadata_field(f"{TOLD_CLAIM}{name}", text)
    return told


def _seconds(microseconds: int) -> int:
    return -(-microseconds // 1_000_000)


def _with_underscores(names: Iterable[str]) -> Iterable[str]:
    """x-user-id and x_user_id are one header to many services (CGI, WSGI)."""
    for name in names:
        yield name
        yield name.replace("-", "_")


def _challenge(rules: Authentication, decision: Deny) -> bytes:
    """One challenge a method; RFC 6750 section 3.1 for the errors."""
    return ", ".join(filter(None, (_method_challenge(method, decision) for method in rules.methods))).encode()


def _method_challenge(method: Method, decision: Deny) -> str:
    realm = "".join(character for character in method.realm if character in _VISIBLE)
    match method:
        case JwtProvider():
            challenge = f'Bearer realm="{realm}"'
            if decision.reason is Reason.INSUFFICIENT_CLAIMS:
                return f'{challenge}, error="insufficient_scope"'
            if decision.method == method.method:
                return f'{challenge}, error="invalid_token", error_description="{decision.reason.detail}"'
            return challenge
        case ApiKeys():
            return "" if decision.reason.refusal is Refusal.FORBIDDEN else f'ApiKey realm="{realm}"'
        case Signatures():
            return "" if decision.reason.refusal is Refusal.FORBIDDEN else f'Signature realm="{realm}"'


def denied(decision: Deny, request: Request | None, headers: Iterable[tuple[str, bytes]] = ()) -> bytes:
    """Every denial is built here, with a status that is never 0.

    gRPC callers get grpc-status (Envoy alone would turn 429 into UNAVAILABLE, which clients retry) and the sentence
    alone, which becomes grpc-message.
    """
    answer = decision.reason.refusal.value
    request_id = request.id if request is not None and _VISIBLE.issuperset(request.id) else ""
    all_headers = list(headers)
    if request_id:
        all_headers.append(("x-request-id", request_id.encode()))
    if request is not None and request.is_grpc:
        all_headers.append(("grpc-status", b"%d" % answer.grpc_status))
        body = decision.reason.detail.encode()
    else:
        all_headers.append(("content-type", b"application/problem+json"))
        body = _problem(decision.reason, request_id)
    return wire.denied(answer.grpc_status, answer.status, all_headers, body, _metadata(decision))


def _problem(reason: Reason, request_id: str) -> bytes:
    """RFC 9457."""
    answer = reason.refusal.value
    problem = {
        "type": f"urn:meetinity:{answer.type}",
        "title": answer.title,
        "status": answer.status,
        "detail": reason.detail,
        "instance": request_id,
    }
    return json.dumps(problem, separators=(",", ":")).encode()


def _metadata(decision: Deny) -> bytes:
    metadata = wire.metadata_field("reason", decision.reason.label)
    if decision.identity is not None:
        metadata += decision.identity.metadata_fields
    if decision.reason is Reason.RATE_LIMIT and decision.standing is not None:
        metadata += wire.metadata_field("rate_limit", decision.standing.limit.name)
    return metadata
