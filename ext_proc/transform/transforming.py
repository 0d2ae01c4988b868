"""What the rules of a route do to one request and its response; pure, driven by `exchange.py`.

Where a body cannot be read, or is too large, and the route lets such bodies pass, the answer is "pass it as it is".
Everything else that goes wrong is an UnusableError, and the message is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from ext_proc.events import NO_CHANGES, RequestStart, ResponseStart
from ext_proc.transform import body as bodies
from ext_proc.transform import head
from ext_proc.transform.body import Made, Plan
from ext_proc.transform.checking import Checked, check_head, invalid, response_content
from ext_proc.transform.facts import Facts
from ext_proc.transform.headers import merged
from ext_proc.transform.problems import Cause, UnusableError
from ext_proc.transform.steps import graphql_request
from policy.openapi.operations import Content
from policy.processing import HeaderChanges
from policy.transforms import Transform, UnwrapRequest, WrapRequest

_WHOLE = HeaderChanges(remove=("range", "if-range"), set=(("accept-encoding", "identity"),))
"""A body that is to be changed has to come whole and readable."""
_NOTHING_CHECKED = Checked(None, ())


@dataclass(slots=True)
class Head:
    """What happens to a message's headers, and whether its body is wanted."""

    changes: HeaderChanges
    wants_body: bool = False
    new_body: bytes | None = None
    """Of a request that had none."""


class Transforming:
    """One exchange; call the methods in the order in which they stand here, as far as there are such messages."""

    __slots__ = ("_checked", "_facts", "_has_body", "_request", "_request_plan", "_response_plan", "_rules")

    def __init__(self, rules: Transform, route: str, request: RequestStart) -> None:
        self._rules = rules
        self._request = request
        self._facts = Facts(request.headers, request.claims, route, rules.path_parameters)
        self._has_body = not request.end_of_stream and "upgrade" not in request.headers
        self._checked = _NOTHING_CHECKED
        self._request_plan: Plan | None = None
        self._response_plan: Plan | None = None

    def check_request(self) -> None:
        """What can be said of the request before its body is there; comes before the cache.

        Raises:
            UnusableError: it is not as the API describes it, and there is no body to find more in.
        """
        validation = self._rules.request.validation or self._rules.response.validation
        if validation is None:
            return
        own = self._rules.request.validation
        self._checked = check_head(validation, self._facts, has_body=self._has_body)
        if own is None:
            # Only the operation is wanted, to know its responses.
            self._checked = Checked(self._checked.operation, ())
        elif self._checked.problems and not (self._has_body and self._checked.wants_body):
            raise invalid(self._checked.problems, "request")

    @property
    def is_refused_anyway(self) -> bool:
        """Problems are known, and only more of them are looked for."""
        return bool(self._checked.problems)

    def request_head(self, constant: HeaderChanges) -> Head:
        """
        Args:
            constant: what is the same for every request.

        Raises:
            UnusableError: the request cannot be made into what the service wants.
        """
        rules, facts = self._rules.request, self._facts
        changes = constant
        if rules.headers:
            changes = merged(
                merged(head.renames(rules.headers, facts.headers), constant), head.filled(rules.headers, facts)
            )
        target = head.target(rules, facts)
        if target is not None:
            changes = merged(changes, HeaderChanges(set=((":path", target),)))
        if self._rules.response.needs_body:
            changes = merged(changes, _WHOLE)
        if self._has_body:
            plan = self._request_plan = self._planned_request()
            return Head(changes, plan is not None)
        return self._without_request_body(changes)

    def _planned_request(self) -> Plan | None:
        content = self._checked.operation.body if self._checked.operation and self._rules.request.validation else None
        headers = dict(self._request.headers)
        try:
            return bodies.request_plan(self._rules, headers, content, self._checked.problems)
        except UnusableError as error:
            if self._may_pass(error) and not self._checked.problems:
                return None
            raise

    def _without_request_body(self, changes: HeaderChanges) -> Head:
        """A query of GraphQL is the one body that a request without one can get."""
        wrap = next((step for step in self._rules.request.body if isinstance(step, WrapRequest)), None)
        if wrap is None:
            return Head(changes)
        new = orjson.dumps(graphql_request(wrap, None, self._facts.value_of))
        return Head(merged(changes, _POSTED), new_body=new)

    def request_body(self, data: bytes) -> Made | None:
        """
        Args:
            data: all of the body, or, if it is larger than the limit, its beginning.

        Returns:
            None: it passes as it is.

        Raises:
            UnusableError: it is refused.
        """
        plan = self._request_plan
        assert plan is not None
        try:
            made = bodies.made(plan, data, self._facts.value_of)
        except UnusableError as error:
            if self._may_pass(error) and not plan.problems:
                return None
            raise
        if any(isinstance(step, WrapRequest) for step in plan.steps):
            made.changes = merged(made.changes, _POSTED)
        elif any(isinstance(step, UnwrapRequest) for step in plan.steps):
            made.changes = merged(made.changes, HeaderChanges(set=(("content-type", "application/json"),)))
        return made

    def response_head(self, constant: HeaderChanges, response: ResponseStart) -> Head:
        """
        Raises:
            UnusableError: the response cannot be processed, or is not as the API describes it.
        """
        rules = self._rules.response
        changes = constant
        if rules.headers:
            changes = merged(head.renames(rules.headers, response.headers), constant)
            changes = merged(changes, head.filled(rules.headers, self._facts))
        if self._rules.response_reads and response.from_upstream:
            changes = merged(changes, _varying(response.headers, self._rules.response_reads))
        if not rules.needs_body or not response.from_upstream or response.status == 101:
            return Head(changes)
        plan = self._response_plan = self._planned_response(response)
        if plan is None:
            return Head(changes)
        if response.end_of_stream:
            return Head(merged(changes, bodies.without_body(plan)))
        return Head(changes, wants_body=True)

    def _planned_response(self, response: ResponseStart) -> Plan | None:
        content = self._described_response(response)
        try:
            return bodies.response_plan(self._rules, self._request.headers, response.status, response.headers, content)
        except UnusableError as error:
            if response.end_of_stream or self._may_pass(error):
                return None
            raise

    def _described_response(self, response: ResponseStart) -> Content | None:
        validation, operation = self._rules.response.validation, self._checked.operation
        if validation is None or response.status == 304:
            return None
        if operation is None:
            if validation.pass_undocumented:
                return None
            raise UnusableError(Cause.INVALID, "the API does not describe this request")
        content = response_content(operation, response.status, pass_undocumented=validation.pass_undocumented)
        return None if response.end_of_stream else content

    def response_body(self, data: bytes) -> Made | None:
        """As `request_body`."""
        plan = self._response_plan
        assert plan is not None
        try:
            return bodies.made(plan, data, self._facts.value_of)
        except UnusableError as error:
            if self._may_pass(error):
                return None
            raise

    def _may_pass(self, error: UnusableError) -> bool:
        return self._rules.pass_unreadable and error.cause.may_pass


_POSTED = HeaderChanges(set=((":method", "POST"), ("content-type", "application/json")))


def _varying(headers: Mapping[str, str], names: frozenset[str]) -> HeaderChanges:
    """Clients' caches have to know what the response depends on."""
    said = headers.get("vary", "")
    known = {name.strip().lower() for name in said.split(",")}
    if "*" in known or names <= known:
        return NO_CHANGES
    return HeaderChanges(set=(("vary", ", ".join([*([said] if said else []), *sorted(names - known)])),))
