"""routes and defaults: what happens to a request."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from control_plane.config.model.base import Count, Off, OneOrMore, Percent, Port, Section, Status, Switchable
from control_plane.config.model.listeners import IpRules
from control_plane.config.model.transform import Transform
from control_plane.config.scalars import Bool, Duration, Int, Moment, SizeBytes


class StringMatch(Section):
    """A plain value in the file is exact; else `{present: true}` or `{regex: ...}`: exactly one of the three."""

    exact: str | None = None
    present: Bool | None = None
    regex: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: object) -> object:
        return {"exact": value} if isinstance(value, str) else value


class Match(Section):
    """At most one of path, path_prefix, path_regex; several paths mean any of them."""

    path: Annotated[tuple[str, ...], OneOrMore] | None = None
    path_prefix: Annotated[tuple[str, ...], OneOrMore] | None = None
    path_regex: Annotated[tuple[str, ...], OneOrMore] | None = None
    methods: tuple[str, ...] = ()
    headers: dict[str, StringMatch] = {}
    query: dict[str, StringMatch] = {}


class Backend(Section):
    service: str
    weight: Annotated[Int, Field(ge=0)] = 1


class RegexRewrite(Section):
    match: str
    replace: str


class Rewrite(Section):
    """At most one of path, path_prefix, regex; host besides."""

    path: str | None = None
    path_prefix: str | None = None
    regex: RegexRewrite | None = None
    host: str | None = None


class Mirror(Section):
    service: str
    percent: Percent = 100


class DirectResponse(Section):
    status: Status = 200
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"
    headers: dict[str, str] = {}


class Redirect(Section):
    scheme: Literal["http", "https"] | None = None
    host: str | None = None
    port: Port | None = None
    path: str | None = None
    path_prefix: str | None = None
    status: Annotated[Int, Field(json_schema_extra={"enum": [301, 302, 303, 307, 308]})] = 308


class Authentication(Section):
    """Exactly one of any_of, all_of; references are jwt.NAME, api_keys.NAME, signatures.NAME."""

    any_of: tuple[str, ...] | None = None
    all_of: tuple[str, ...] | None = None
    optional: Bool = False
    required_claims: dict[str, Annotated[tuple[str, ...], OneOrMore]] = {}


class RetryBudget(Section):
    percent: Percent = 20
    min_concurrency: Count = 3


class Retry(Section):
    attempts: Annotated[Int, Field(ge=1, le=20)] = 2
    """Retries after the first try."""
    on: tuple[str, ...] = ("connect-failure", "refused-stream", "503")
    methods: tuple[str, ...] = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
    base_backoff: Duration = timedelta(milliseconds=25)
    max_backoff: Duration = timedelta(milliseconds=250)
    per_try_timeout: Duration | None = None
    budget: RetryBudget | None = None


class Cors(Section):
    allow_origins: tuple[str, ...]
    allow_methods: tuple[str, ...] = ("GET", "HEAD", "POST")
    allow_headers: tuple[str, ...] = ()
    expose_headers: tuple[str, ...] = ()
    allow_credentials: Bool = False
    max_age: Duration | None = None


class Compression(Section):
    algorithms: tuple[Literal["br", "gzip"], ...] = ("br", "gzip")
    min_size: SizeBytes = 512


class CacheQuery(Section):
    """Which parameters of the query tell responses apart: exactly one of the two. A final `*` stands for any rest."""

    allow: tuple[str, ...] | None = None
    ignore: tuple[str, ...] | None = None


class Cache(Section):
    ttl: Duration | None = None
    vary: tuple[str, ...] = ()
    scope: Literal["user", "public"] | None = None
    """Absent: user on a route with auth, public on one with auth: none."""
    max_body: SizeBytes = 1024 * 1024
    stale_while_revalidate: Duration = timedelta(0)
    stale_if_error: Duration = timedelta(0)
    override: tuple[Literal["no-store", "private", "set-cookie"], ...] = ()
    query: CacheQuery | None = None
    """Absent: every parameter counts."""


class Deprecation(Section):
    since: Moment
    sunset: Moment | None = None
    successor: str | None = None


class RouteFailureMode(Section):
    ext_authz: Literal["open", "closed"] | None = None
    ext_proc: Literal["open", "closed"] | None = None


class RoutePolicies(Section):
    """The keys that `defaults` and a route share; None is "not said", "none" switches a default off."""

    auth: Switchable[Authentication] | None = None
    timeout: Duration | None = None
    """The whole request, retries included; 0s is none."""
    retry: Switchable[Retry] | None = None
    cors: Switchable[Cors] | None = None
    compression: Switchable[Compression] | None = None
    rewrite: Switchable[Rewrite] | None = None
    mirror: Switchable[Mirror] | None = None
    ip: Switchable[IpRules] | None = None
    max_request_body: SizeBytes | None = None
    rate_limits: Switchable[tuple[str, ...]] | None = None
    cache: Switchable[Cache] | None = None
    transform: Switchable[Transform] | None = None
    deprecation: Switchable[Deprecation] | None = None
    upgrades: Off | None = None
    access_log: Off | None = None
    failure_mode: RouteFailureMode | None = None
    shadow: Bool | None = None
    """What ext_authz would refuse passes and is counted."""


Host = Annotated[str, AfterValidator(str.lower)]


class Route(RoutePolicies):
    """Exactly one target: backends, service, direct_response, redirect."""

    name: str
    listeners: tuple[str, ...] | None = None
    hosts: tuple[Host, ...] = ("*",)
    """`*`, `api.example.com` or `*.example.com`; lower case here, whatever the file says."""
    match: Match = Match()
    backends: tuple[Backend, ...] | None = None
    service: str | None = None
    direct_response: DirectResponse | None = None
    redirect: Redirect | None = None
