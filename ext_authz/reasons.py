"""Why a request is denied, and what its caller is told.

Refusal (4)         one HTTP answer each: status, problem type, grpc-status
└─ Reason (many)    a bounded label for logs and metrics, and one sentence for the caller
"""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    grpc_status: int
    """https://grpc.io/docs/guides/status-codes/; also the CheckResponse's status, so never 0."""
    type: str
    title: str


class Refusal(Enum):
    """The answers of the contract."""

    UNAUTHENTICATED = Answer(401, 16, "unauthenticated", "Unauthenticated")
    FORBIDDEN = Answer(403, 7, "forbidden", "Forbidden")
    RATE_LIMITED = Answer(429, 8, "rate-limited", "Too Many Requests")
    AUTH_UNAVAILABLE = Answer(503, 14, "auth-unavailable", "Authentication Unavailable")


class Reason(Enum):
    """Texts tell a caller what to change and nothing about keys, addresses or the configuration."""

    NO_CREDENTIAL = ("no_credential", Refusal.UNAUTHENTICATED, "This needs a credential.")
    AMBIGUOUS_CREDENTIAL = ("ambiguous_credential", Refusal.UNAUTHENTICATED, "The credential was sent more than once.")
    MALFORMED_TOKEN = ("malformed_token", Refusal.UNAUTHENTICATED, "The token is malformed.")
    ALGORITHM = ("algorithm", Refusal.UNAUTHENTICATED, "The token is signed with an algorithm that is not accepted.")
    UNKNOWN_ISSUER = ("unknown_issuer", Refusal.UNAUTHENTICATED, "The token's issuer is not accepted here.")
    UNKNOWN_KEY = ("unknown_key", Refusal.UNAUTHENTICATED, "The token is signed with an unknown key.")
    SIGNATURE = ("signature", Refusal.UNAUTHENTICATED, "The signature does not match.")
    EXPIRED = ("expired", Refusal.UNAUTHENTICATED, "The token has expired.")
    NOT_YET_VALID = ("not_yet_valid", Refusal.UNAUTHENTICATED, "The token is not valid yet.")
    LIFETIME = ("lifetime", Refusal.UNAUTHENTICATED, "The token is valid for longer than is accepted.")
    AUDIENCE = ("audience", Refusal.UNAUTHENTICATED, "The token is meant for another audience.")
    MISSING_CLAIM = ("missing_claim", Refusal.UNAUTHENTICATED, "The token lacks a required claim.")
    UNFIT_CLAIM = ("unfit_claim", Refusal.UNAUTHENTICATED, "The token holds a claim that cannot be used.")
    REVOKED = ("revoked", Refusal.UNAUTHENTICATED, "The token has been revoked.")
    MALFORMED_SIGNATURE = ("malformed_signature", Refusal.UNAUTHENTICATED, "The request's signature is malformed.")
    SIGNATURE_TIME = (
        "signature_time",
        Refusal.UNAUTHENTICATED,
        "The request was signed too long ago, or in the future.",
    )
    REQUEST_SIGNATURE = ("request_signature", Refusal.UNAUTHENTICATED, "The request's signature does not match.")
    BODY = ("body", Refusal.UNAUTHENTICATED, "The signed body did not come whole.")
    REPLAY = ("replay", Refusal.UNAUTHENTICATED, "The nonce was used before.")
    UNKNOWN_API_KEY = ("unknown_api_key", Refusal.UNAUTHENTICATED, "The API key is not valid.")
    INSUFFICIENT_CLAIMS = ("insufficient_claims", Refusal.FORBIDDEN, "The caller may not do this.")
    ADDRESS = ("address", Refusal.FORBIDDEN, "The caller's address may not do this.")
    BAD_PATH = ("bad_path", Refusal.FORBIDDEN, "The request has no path.")
    RATE_LIMIT = ("rate_limit", Refusal.RATE_LIMITED, "Too many requests; try again later.")
    UNKNOWN_POLICY = ("unknown_policy", Refusal.AUTH_UNAVAILABLE, "The request cannot be judged at the moment.")
    NO_KEYS = ("no_keys", Refusal.AUTH_UNAVAILABLE, "The request cannot be judged at the moment.")
    REVOCATIONS = ("revocations", Refusal.AUTH_UNAVAILABLE, "The request cannot be judged at the moment.")
    STORE = ("store", Refusal.AUTH_UNAVAILABLE, "The request cannot be judged at the moment.")
    INTERNAL = ("internal", Refusal.AUTH_UNAVAILABLE, "The request cannot be judged at the moment.")

    def __init__(self, label: str, refusal: Refusal, detail: str) -> None:
        self.label = label
        self.refusal = refusal
        self.detail = detail


class CredentialError(Exception):
    """A credential that was sent is not accepted, or none was; caught by `decide`, never seen outside."""

    def __init__(self, reason: Reason, method: str = "") -> None:
        super().__init__(reason.label)
        self.reason = reason
        self.method = method
        """The method that refused, "" if none can be named."""
