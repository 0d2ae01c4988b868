"""Whose ServiceAccount token a client has brought, told by the API server (authentication.k8s.io/v1 TokenReview)."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable

import orjson

from control_plane.kubernetes.api import Api, ConnectionLostError
from gateway_runtime.telemetry import logger

_PATH = "/apis/authentication.k8s.io/v1/tokenreviews"
_USER = "system:serviceaccount:"
_CREATED = 201
_REMEMBERED = 1024
_FRESH_S = 60.0
"""An answer counts so long: reconnect storms must not become storms on the API server."""


class TokenReview:
    """Asks, and remembers answers for a minute by the token's digest."""

    def __init__(self, api: Api, *, audience: str, monotonic: Callable[[], float]) -> None:
        """
        Args:
            audience: that the token has to be for, so that tokens for the API server or others are worth nothing here.
        """
        self._api = api
        self._audience = audience
        self._monotonic = monotonic
        self._answers: OrderedDict[str, tuple[float, str | None]] = OrderedDict()
        self._log = logger("token_review")

    async def __call__(self, token: str) -> str | None:
        """`namespace/name` of the ServiceAccount; None if the token is none, expired, or for somebody else."""
        digest = hashlib.sha256(token.encode()).hexdigest()
        known = self._answers.get(digest)
        if known is not None and self._monotonic() < known[0]:
            return known[1]
        try:
            answer = await self._api.request("POST", _PATH, body=self._question(token))
        except ConnectionLostError as error:
            self._log.warning("token_not_reviewed", reason=str(error))
            return None
        if answer.status != _CREATED:
            self._log.warning("token_not_reviewed", status=answer.status)
            return None
        account = _account(orjson.loads(answer.body), self._audience)
        self._answers[digest] = (self._monotonic() + _FRESH_S, account)
        while len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)
        return account

    def _question(self, token: str) -> dict[str, object]:
        spec = {"token": token, "audiences": [self._audience]}
        return {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}


def _account(review: dict[str, dict[str, object]], audience: str) -> str | None:
    status = review.get("status") or {}
    audiences = status.get("audiences")
    if status.get("authenticated") is not True or not isinstance(audiences, list) or audience not in audiences:
        return None
    user = status.get("user")
    name = user.get("username") if isinstance(user, dict) else None
    if not isinstance(name, str) or not name.startswith(_USER):
        return None
    return name.removeprefix(_USER).replace(":", "/", 1)
