"""TLS Secrets as materials of the translation; a pair that cannot work never replaces one that does."""

from collections.abc import Mapping

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from control_plane.kubernetes.parsing import ObjectContent

CERTIFICATE = "tls.crt"
PRIVATE_KEY = "tls.key"
"""Keys of a Secret of type kubernetes.io/tls."""


class TlsSecrets:
    """The last good pair of every Secret, by `namespace/name`. A Secret that is deleted keeps its last pair too."""

    def __init__(self) -> None:
        self._good: dict[str, ObjectContent] = {}
        self._faults: dict[str, str] = {}

    def take(self, found: Mapping[str, ObjectContent | None]) -> None:
        """What there is now of all Secrets that are wanted, None for those that do not exist; others are forgotten."""
        self._faults = {}
        self._good = {name: pair for name, pair in self._good.items() if name in found}
        for name, secret in found.items():
            if secret is not None and self._good.get(name) == secret:
                continue
            fault = "does not exist" if secret is None else pair_fault(secret.content)
            if fault is None and secret is not None:
                self._good[name] = secret
            elif fault is not None:
                kept = "; its last good pair is served" if name in self._good else ""
                self._faults[name] = f"Secret {name} {fault}{kept}"

    @property
    def materials(self) -> Mapping[str, bytes]:
        """Under `namespace/name#tls.crt` and `namespace/name#tls.key`."""
        return {
            f"{name}#{key}": secret.content[key]
            for name, secret in self._good.items()
            for key in (CERTIFICATE, PRIVATE_KEY)
        }

    @property
    def faults(self) -> Mapping[str, str]:
        """By `namespace/name`."""
        return self._faults


def pair_fault(content: Mapping[str, bytes]) -> str | None:
    """Why a certificate and key cannot serve, as the end of a sentence; None if they can."""
    for key in (CERTIFICATE, PRIVATE_KEY):
        if not content.get(key):
            return f"has no {key}"
    try:
        leaf = x509.load_pem_x509_certificates(content[CERTIFICATE])[0]
    except ValueError:
        return f"holds no certificate in {CERTIFICATE} (PEM)"
    try:
        private_key = load_pem_private_key(content[PRIVATE_KEY], None)
    except (ValueError, TypeError):
        return f"holds no private key in {PRIVATE_KEY} (PEM, without a passphrase)"
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if leaf.public_key().public_bytes(*form) != private_key.public_key().public_bytes(*form):
        return "holds a private key that does not belong to its certificate"
    return None
