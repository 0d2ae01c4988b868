"""Who may be which node: what a credential proves, and which gateways and kinds it is good for.

`node.cluster` and `node.user_agent_name` are claims of the client. They decide which resources it gets, secrets among
them, so on a port that others can reach each claim has to be covered by the credential. Three credentials are known:

* a client certificate under `--xds-ca`, by its URI and DNS names;
* a bearer token that is a Kubernetes ServiceAccount's, which the API server confirms (TokenReview);
* a bearer token that is a shared secret.

What a name is good for stands in the file of `--xds-clients`. Without it a certificate says so itself, by a name
`spiffe://DOMAIN/gateway/GATEWAY/KIND` or `KIND.GATEWAY.gateway` (without GATEWAY: of all gateways), where KIND is
`envoy`, `ext-authz`, `ext-proc` or `status`; and the token of `--xds-token` is good for everything.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from control_plane.resource_types import NodeKind

STATUS = "status"
"""To see the state of every client (CSDS)."""

_KINDS: Mapping[str, str] = {
    "envoy": NodeKind.ENVOY.value,
    "ext-authz": NodeKind.EXT_AUTHZ.value,
    "ext-proc": NodeKind.EXT_PROC.value,
    "grpc": NodeKind.GRPC.value,
    STATUS: STATUS,
}
"""By the words that people use."""


class UnauthenticatedError(Exception):
    """No credential, or none that is valid: UNAUTHENTICATED."""


class NotAllowedError(Exception):
    """The credential is valid, and not for this: PERMISSION_DENIED."""


class ClientsFileError(Exception):
    """The file of `--xds-clients` cannot be used."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What one credential is good for."""

    identity: str
    """The name that was proven; part of logs and messages, so no token."""
    gateways: frozenset[str] | None
    """None: all."""
    kinds: frozenset[str]

    def covers(self, cluster: str) -> bool:
        return self.gateways is None or cluster in self.gateways

    def check(self, cluster: str, kind: str) -> None:
        """Raises NotAllowedError if the node may not be of this gateway and kind; "" is all gateways."""
        if kind not in self.kinds:
            raise NotAllowedError(f"{self.identity} may not be a node of kind {kind}")
        if not self.covers(cluster):
            raise NotAllowedError(f"{self.identity} may not be a node of gateway {cluster!r}")


EVERYTHING = frozenset(_KINDS.values())
ANYBODY = Grant("anybody", None, EVERYTHING)
"""On loopback and Unix sockets, where the machine's users are trusted."""


@dataclass(frozen=True, slots=True)
class Presented:
    """What a call has brought."""

    names: Sequence[str] = ()
    """URI and DNS names of its verified client certificate."""
    token: str = ""

    def __repr__(self) -> str:
        """Without the token."""
        return f"Presented(names={self.names}, token={'[redacted]' if self.token else ''!r})"


class TokenReviewer(Protocol):
    async def __call__(self, token: str) -> str | None:
        """`namespace/name` of the ServiceAccount whose valid token this is; None if it is none."""


class _Client(BaseModel):
    """One entry of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    certificate: str | None = None
    """A URI or DNS name of the client's certificate."""
    service_account: str | None = Field(default=None, pattern=r"^[^/]+/[^/]+$")
    """namespace/name."""
    token_sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    gateways: list[str] | None = Field(default=None, min_length=1)
    """Absent: all."""
    kinds: list[Literal["envoy", "ext-authz", "ext-proc", "status"]] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_one_credential(self) -> "_Client":
        given = [self.certificate, self.service_account, self.token_sha256]
        if sum(one is not None for one in given) != 1:
            raise ValueError("exactly one of certificate, service_account, token_sha256 is wanted")
        return self

    def grant(self, identity: str) -> Grant:
        gateways = None if self.gateways is None else frozenset(self.gateways)
        return Grant(identity, gateways, frozenset(_KINDS[kind] for kind in self.kinds))


class _Clients(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    clients: list[_Client]


@dataclass(frozen=True, slots=True)
class Clients:
    """The grants of a clients file."""

    certificates: Mapping[str, Grant]
    service_accounts: Mapping[str, Grant]
    tokens: Mapping[str, Grant]
    """By SHA-256 in hexadecimal."""


def parse_clients(text: str | bytes, path: str) -> Clients:
    """Raises ClientsFileError with all that is wrong, in one line."""
    try:
        parsed = _Clients.model_validate(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ClientsFileError(f"{path}: no YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in error.errors())
        raise ClientsFileError(f"{path}: {faults}") from error
    found: tuple[dict[str, Grant], dict[str, Grant], dict[str, Grant]] = ({}, {}, {})
    for index, client in enumerate(parsed.clients):
        keys = (client.certificate, client.service_account, client.token_sha256)
        for known, key, word in zip(found, keys, ("", "ServiceAccount ", "token "), strict=True):
            if key is None:
                continue
            if key in known:
                raise ClientsFileError(f"{path}: clients.{index}: {key} stands there twice")
            known[key] = client.grant(f"{word}{key if word != 'token ' else f'of clients.{index}'}")
    return Clients(*found)


def grant_of_names(names: Iterable[str]) -> Grant | None:
    """What the first of a certificate's names that says so is good for; None: nothing."""
    return next((grant for name in names if (grant := _self_described(name)) is not None), None)


def _self_described(name: str) -> Grant | None:
    if name.startswith("spiffe://"):
        head, _, rest = urlsplit(name).path.removeprefix("/").partition("/")
        words = rest.split("/") if head == "gateway" and rest else []
    else:
        labels = name.split(".")
        words = [*labels[1:-1], labels[0]] if len(labels) in (2, 3) and labels[-1] == "gateway" else []
    if len(words) not in (1, 2) or words[-1] not in _KINDS:
        return None
    gateways = frozenset(words[:1]) if len(words) == 2 else None
    return Grant(name, gateways, frozenset({_KINDS[words[-1]]}))


class Access:
    """Decides for every call of every xDS service alike."""

    def __init__(
        self,
        *,
        wants_certificate: bool = False,
        token: str = "",
        clients: Callable[[], Clients | None] = lambda: None,
        review: TokenReviewer | None = None,
    ) -> None:
        """Nothing given: anybody may be everything.

        Args:
            wants_certificate: the port has verified the client's certificate.
            token: a shared secret that is good for everything.
            clients: the newest content of the clients file; None: there is none.
            review: asks Kubernetes about a token.
        """
        self._wants_certificate = wants_certificate
        self._token = token
        self._clients = clients
        self._review = review

    @property
    def wants_token(self) -> bool:
        return bool(self._token) or self._review is not None or bool(self._declared().tokens)

    async def grant(self, presented: Presented) -> Grant:
        """Raises UnauthenticatedError or NotAllowedError."""
        if not (self._wants_certificate or self.wants_token):
            return ANYBODY
        if presented.token and self.wants_token:
            return await self._of_token(presented.token)
        if presented.names or self._wants_certificate:
            return self._of_certificate(presented.names)
        raise UnauthenticatedError("a bearer token is needed: metadata `authorization: Bearer TOKEN`")

    def _declared(self) -> Clients:
        return self._clients() or Clients({}, {}, {})

    async def _of_token(self, token: str) -> Grant:
        if self._token and hmac.compare_digest(token.encode(), self._token.encode()):
            return Grant("the shared token", None, EVERYTHING)
        declared = self._declared()
        known = declared.tokens.get(hashlib.sha256(token.encode()).hexdigest())
        if known is not None:
            return known
        account = await self._review(token) if self._review is not None else None
        if account is None:
            raise UnauthenticatedError("the bearer token is not valid")
        grant = declared.service_accounts.get(account)
        if grant is None:
            raise NotAllowedError(f"ServiceAccount {account} is not in the file of --xds-clients")
        return grant

    def _of_certificate(self, names: Sequence[str]) -> Grant:
        declared = self._clients()
        if declared is None:
            grant = grant_of_names(names)
        else:
            grant = next((declared.certificates[name] for name in names if name in declared.certificates), None)
        if grant is None:
            wanted = "in the file of --xds-clients" if declared is not None else "spiffe://DOMAIN/gateway/GATEWAY/KIND"
            raise NotAllowedError(f"the certificate of {', '.join(names) or 'no name'} has no name {wanted}")
        return grant
