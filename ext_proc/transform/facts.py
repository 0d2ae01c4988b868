"""What templates may ask about a request, looked up when they ask."""

from collections.abc import Mapping
from urllib.parse import unquote, unquote_plus

from policy.path_template import PathTemplate
from policy.templates import Variable


class Facts:
    """Of one request, as the client sent it."""

    __slots__ = ("_claims", "_headers", "_parameters", "_route", "_template")

    def __init__(
        self, headers: Mapping[str, str], claims: Mapping[str, str], route: str, template: PathTemplate | None
    ) -> None:
        """
        Args:
            headers: names in lower case, values as one character an octet.
            claims: that ext_authz told.
            template: what gives parts of the path their names.
        """
        self._headers = headers
        self._claims = claims
        self._route = route
        self._template = template
        self._parameters: Mapping[str, str] | None = None

    @property
    def path(self) -> str:
        """Without query."""
        return self._headers.get(":path", "/").partition("?")[0]

    @property
    def query(self) -> str:
        return self._headers.get(":path", "/").partition("?")[2]

    @property
    def headers(self) -> Mapping[str, str]:
        return self._headers

    def value_of(self, variable: Variable) -> str | None:
        """Decoded text, or None if the request has no such thing."""
        match variable.kind:
            case "request_id":
                return self._headers.get("x-request-id") or None
            case "route":
                return self._route
            case "claim":
                return self._claims.get(variable.name)
            case "header":
                return _text(self._headers.get(variable.name))
            case "path":
                return self._path_parameters().get(variable.name)
            case _:
                return query_value(self.query, variable.name)

    def _path_parameters(self) -> Mapping[str, str]:
        if self._parameters is None:
            found = self._template.match(self.path) if self._template is not None else None
            self._parameters = found or {}
        return self._parameters


def _text(octets: str | None) -> str | None:
    """A header's value as text: UTF-8 where it is, else as it stands."""
    if octets is None or octets.isascii():
        return octets
    try:
        return octets.encode("latin-1").decode()
    except UnicodeError:
        return octets


def query_value(query: str, name: str) -> str | None:
    """The decoded value of the first parameter of that name."""
    for parameter in query.split("&"):
        key, _, value = parameter.partition("=")
        if parameter and unquote(key.replace("+", " ")) == name:
            return unquote_plus(value)
    return None
