"""Everything secret as SDS Secret resources; what uses one names it by a name that carries a digest of its content."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2

from control_plane.config.api_keys_file import parse_api_keys
from control_plane.config.materials import Materials
from control_plane.config.model.auth import ApiKeys, JwtProvider, Signatures
from control_plane.config.model.gateway import Gateway
from control_plane.config.model.listeners import Certificate
from control_plane.resource_types import NodeKind
from control_plane.snapshot import ENVOYS, Resource
from control_plane.translate.names import secret_name

EXT_AUTHZ_ONLY = frozenset({NodeKind.EXT_AUTHZ})
CALLOUTS = frozenset({NodeKind.EXT_AUTHZ, NodeKind.EXT_PROC})


@dataclass(frozen=True, slots=True)
class KeyPair:
    """The keys of Materials under which a certificate chain and its private key are found.

    The two parts of a Kubernetes TLS Secret stand under `namespace/name#tls.crt` and `namespace/name#tls.key`.
    """

    certificate: str
    private_key: str

    def name(self, materials: Materials) -> str:
        """The Secret's name; content that is not there (yet) has the digest of nothing and is never served."""
        return secret_name("tls", materials.get(self.certificate, b""), materials.get(self.private_key, b""))


def key_pair(certificate: Certificate) -> KeyPair:
    """Where the two halves of a listener's certificate are."""
    if certificate.kubernetes_secret is not None:
        return KeyPair(f"{certificate.kubernetes_secret}#tls.crt", f"{certificate.kubernetes_secret}#tls.key")
    return KeyPair(certificate.certificate_file or "", certificate.private_key_file or "")


def ca_name(path: str, materials: Materials) -> str:
    """The name of the Secret that holds a bundle of trusted CAs."""
    return secret_name("ca", materials.get(path, b""))


def secrets(gateway: Gateway, materials: Materials) -> Iterator[Resource]:
    """Every Secret of the gateway: TLS for Envoy, credentials for the callouts, each only to the kinds that need it."""
    found: dict[str, Resource] = {}
    for resource in (*_tls(gateway, materials), *_credentials(gateway, materials)):
        found[resource.name] = resource
    yield from found.values()


def _tls(gateway: Gateway, materials: Materials) -> Iterator[Resource]:
    for pair in sorted(set(_key_pairs(gateway)), key=lambda pair: (pair.certificate, pair.private_key)):
        if pair.certificate in materials and pair.private_key in materials:
            yield _key_pair_secret(pair, materials)
    for path in sorted(set(_ca_files(gateway))):
        if path in materials:
            yield _ca_secret(path, materials)


def _key_pairs(gateway: Gateway) -> Iterator[KeyPair]:
    for listener in gateway.listeners:
        yield from (key_pair(certificate) for certificate in listener.tls or ())
    for service in gateway.services.values():
        if service.tls is not None and service.tls.certificate_file and service.tls.private_key_file:
            yield KeyPair(service.tls.certificate_file, service.tls.private_key_file)


def _ca_files(gateway: Gateway) -> Iterator[str]:
    yield from (listener.client_ca_file for listener in gateway.listeners if listener.client_ca_file)
    yield from (service.tls.ca_file for service in gateway.services.values() if service.tls and service.tls.ca_file)


def _key_pair_secret(pair: KeyPair, materials: Materials) -> Resource:
    certificate = common_pb2.TlsCertificate(
        certificate_chain=base_pb2.DataSource(inline_bytes=materials[pair.certificate]),
        private_key=base_pb2.DataSource(inline_bytes=materials[pair.private_key]),
    )
    name = pair.name(materials)
    return Resource.of(name, secret_pb2.Secret(name=name, tls_certificate=certificate), ENVOYS)


def _ca_secret(path: str, materials: Materials) -> Resource:
    name = ca_name(path, materials)
    context = common_pb2.CertificateValidationContext(trusted_ca=base_pb2.DataSource(inline_bytes=materials[path]))
    return Resource.of(name, secret_pb2.Secret(name=name, validation_context=context), ENVOYS)


def _credentials(gateway: Gateway, materials: Materials) -> Iterator[Resource]:
    contents: Iterable[tuple[str, bytes] | None] = (
        *(jwt_secret(name, provider, materials) for name, provider in sorted(gateway.auth.jwt.items())),
        *(api_keys_secret(name, keys, materials) for name, keys in sorted(gateway.auth.api_keys.items())),
        *(signatures_secret(name, signatures) for name, signatures in sorted(gateway.auth.signatures.items())),
    )
    for content in contents:
        if content is not None:
            yield _generic_secret(*content, EXT_AUTHZ_ONLY)
    redis = redis_secret(gateway)
    if redis is not None:
        yield _generic_secret(*redis, CALLOUTS if gateway.stores.cache == "redis" else EXT_AUTHZ_ONLY)


def _generic_secret(name: str, value: bytes, kinds: frozenset[NodeKind]) -> Resource:
    generic = secret_pb2.GenericSecret(secret=base_pb2.DataSource(inline_bytes=value))
    return Resource.of(name, secret_pb2.Secret(name=name, generic_secret=generic), kinds)


def jwt_secret(name: str, provider: JwtProvider, materials: Materials) -> tuple[str, bytes] | None:
    """Name and content of the Secret with a provider's key; None if its keys are fetched by ext_authz."""
    if provider.secret is not None:
        value = provider.secret.encode()
        return secret_name(f"hmac:{name}", value), value
    if provider.jwks_file is not None:
        value = materials.get(provider.jwks_file, b"")
        return secret_name(f"jwks:{name}", value), value
    return None


def api_keys_secret(name: str, keys: ApiKeys, materials: Materials) -> tuple[str, bytes]:
    """Name and content of the Secret with the digests of the keys, as canonical JSON."""
    listed = keys.keys
    if listed is None:
        listed = parse_api_keys(materials[keys.keys_file or ""])
    value = _canonical(
        [{"id": key.id, "sha256": key.sha256.lower(), "attributes": dict(key.attributes)} for key in listed]
    )
    return secret_name(f"api-keys:{name}", value), value


def signatures_secret(name: str, signatures: Signatures) -> tuple[str, bytes]:
    """Name and content of the Secret with the clients' signing secrets, as canonical JSON."""
    value = _canonical([{"id": client.id, "secret": client.secret} for client in signatures.clients])
    return secret_name(f"signatures:{name}", value), value


def redis_secret(gateway: Gateway) -> tuple[str, bytes] | None:
    """Name and content of the Secret with the address of Redis, which may hold a password; None without one."""
    if gateway.stores.redis is None:
        return None
    value = gateway.stores.redis.url.encode()
    return secret_name("redis", value), value


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
