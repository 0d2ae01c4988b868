"""Who is at the other end of our own connections: TLS files that may be replaced at any time, and bearer tokens.

Both ends read files again when a connection is made, so that certificates are rotated without a restart and without
breaking an open stream; a server (certificates.py) keeps its last good ones when a replacement cannot be used.
"""

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key


class TransportFileError(Exception):
    """A certificate, key, CA or token file cannot be used; the text says which and why, without its content."""


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """What the files hold, as PEM."""

    ca: bytes | None
    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        """Without the key."""
        return "TlsMaterial([redacted])"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """One end's certificate and key, and the CA that it believes the other end by."""

    certificate_file: str
    key_file: str
    ca_file: str = ""
    """"" on a server: clients need no certificate."""

    def read(self) -> TlsMaterial:
        """Raises TransportFileError."""
        ca = _content(self.ca_file) if self.ca_file else None
        certificate, key = _content(self.certificate_file), _content(self.key_file)
        try:
            if ca is not None:
                x509.load_pem_x509_certificates(ca)
        except ValueError as error:
            raise TransportFileError(f"{self.ca_file}: no PEM certificate: {error}") from error
        try:
            leaf = x509.load_pem_x509_certificates(certificate)[0].public_key()
        except (ValueError, IndexError) as error:
            raise TransportFileError(f"{self.certificate_file}: no PEM certificate: {error}") from error
        try:
            public = load_pem_private_key(key, None).public_key()
        except (ValueError, TypeError) as error:
            raise TransportFileError(f"{self.key_file}: no PEM private key without a password") from error
        if _encoded(leaf) != _encoded(public):
            raise TransportFileError(f"{self.key_file} is not the key of {self.certificate_file}")
        return TlsMaterial(ca, certificate, key)

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """Differs when a file was replaced or written to."""
        return tuple(_stamp(path) for path in (self.ca_file, self.certificate_file, self.key_file) if path)


@dataclass(frozen=True, slots=True)
class Dialling:
    """How a client of ours reaches the control plane. Nothing set: in plain text, without saying who it is."""

    tls: TlsFiles | None = None
    token: str = ""
    token_file: str = ""
    """Read for each connection: a projected ServiceAccount token is replaced every hour."""

    def __post_init__(self) -> None:
        if self.token and self.token_file:
            raise ValueError("give a token or a token file, not both")

    def __repr__(self) -> str:
        """Without the token."""
        return f"Dialling(tls={self.tls}, token={'[redacted]' if self.token else ''!r}, token_file={self.token_file!r})"

    def channel(self, target: str, options: list[tuple[str, int]]) -> grpc.aio.Channel:
        """A new connection. Raises TransportFileError."""
        if self.tls is None:
            return grpc.aio.insecure_channel(target, options=options)
        material = self.tls.read()
        credentials = grpc.ssl_channel_credentials(material.ca, material.key, material.certificate)
        return grpc.aio.secure_channel(target, credentials, options=options)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Of each call. Raises TransportFileError."""
        token = self.token
        if self.token_file:
            token = _content(self.token_file).decode("ascii", "replace").strip()
        return (("authorization", f"Bearer {token}"),) if token else ()


PLAIN = Dialling()


TOKEN_VARIABLE = "GATEWAY_XDS_TOKEN"
"""Only a variable: the arguments of a process are for all to see."""
DIALLING_FLAGS = (
    ("--xds-ca", "GATEWAY_XDS_CA", "CA of the control plane; with --xds-cert and --xds-key: mTLS"),
    ("--xds-cert", "GATEWAY_XDS_CERT", "certificate that is shown to the control plane"),
    ("--xds-key", "GATEWAY_XDS_KEY", "its private key"),
    ("--xds-token-file", "GATEWAY_XDS_TOKEN_FILE", f"bearer token for it; {TOKEN_VARIABLE} holds one itself"),
)
"""Of every client process: flag, variable, help; each is empty by default."""


def dialling(flags: argparse.Namespace, environment: Mapping[str, str]) -> Dialling:
    """What the flags say. Raises ValueError for what does not belong together."""
    ca, certificate, key = flags.xds_ca, flags.xds_cert, flags.xds_key
    if any((ca, certificate, key)) and not all((ca, certificate, key)):
        raise ValueError("--xds-ca, --xds-cert and --xds-key belong together")
    token = environment.get(TOKEN_VARIABLE, "")
    if token and flags.xds_token_file:
        raise ValueError(f"--xds-token-file and {TOKEN_VARIABLE} exclude each other")
    return Dialling(TlsFiles(certificate, key, ca) if ca else None, token, flags.xds_token_file)


def dialling_arguments(chosen: Dialling) -> list[str]:
    """The flags for a process of one's own, which inherits the variables."""
    tls = chosen.tls or TlsFiles("", "")
    return [
        *("--xds-ca", tls.ca_file, "--xds-cert", tls.certificate_file, "--xds-key", tls.key_file),
        *("--xds-token-file", chosen.token_file),
    ]


_Encoder = Callable[[Encoding, PublicFormat], bytes]


def _encoded(key: object) -> bytes:
    encode: _Encoder = key.public_bytes  # type: ignore[attr-defined] # every kind of key has it
    return encode(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise TransportFileError(f"{path}: {error.strerror or error}") from error


def _stamp(path: str) -> tuple[int, int, int]:
    """Follows symlinks: Kubernetes swaps one to replace a mounted Secret."""
    try:
        found = os.stat(path)
    except OSError as error:
        raise TransportFileError(f"{path}: {error.strerror or error}") from error
    return found.st_ino, found.st_mtime_ns, found.st_size
