"""The token that the demo's login hands out. Nobody's password is checked: this is no identity provider."""

from collections.abc import Mapping
from dataclasses import dataclass

import jwt

DEMO_SECRET = "demo-only-secret-replace-before-real-use"
"""What envoy/gateway.yaml verifies with while JWT_SECRET is not set. Public, so worthless outside the demo."""

ROLES: Mapping[str, tuple[str, ...]] = {"carol": ("member", "admin")}
"""Roles of the users who are more than a member."""


@dataclass(frozen=True, slots=True)
class Issuer:
    """Who signs, and for whom; the same words as the provider in gateway.yaml."""

    secret: str
    name: str = "https://auth.meetinity.io"
    audience: str = "meetinity-api"
    lifetime_s: int = 3600

    def token(self, user: str, now_s: int) -> str:
        """A signed JWT for user, valid from now_s (Unix time)."""
        claims = {
            "iss": self.name,
            "aud": self.audience,
            "sub": user,
            "roles": list(ROLES.get(user, ("member",))),
            "iat": now_s,
            "exp": now_s + self.lifetime_s,
        }
        return jwt.encode(claims, self.secret, algorithm="HS256")


def parse_login(document: object) -> str:
    """The user of `{"user": "alice"}`; raises ValueError with a text for the caller."""
    user = document.get("user") if isinstance(document, Mapping) else None
    if not isinstance(user, str) or not 1 <= len(user) <= 64 or not user.isprintable():
        raise ValueError('expected an object like {"user": "alice"}')
    return user
