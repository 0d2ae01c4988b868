"""TLS on both sides: transport sockets whose keys and CAs come over SDS."""

import ipaddress

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2, tls_pb2
from google.protobuf.wrappers_pb2 import BoolValue

from control_plane.config.materials import Materials
from control_plane.config.model.listeners import Listener
from control_plane.config.model.services import Service, UpstreamTls
from control_plane.translate.messages import exact, from_ads, packed
from control_plane.translate.secrets import KeyPair, ca_name, key_pair

TLS_TRANSPORT_SOCKET = "envoy.transport_sockets.tls"
SYSTEM_CA_FILE = "/etc/ssl/certs/ca-certificates.crt"
"""On Envoy's machine: where Debian, Ubuntu, Alpine and Envoy's own images keep it. Envoy does not look for it itself
(`system_root_certs` is for gRPC's client)."""


def downstream_transport_socket(listener: Listener, materials: Materials) -> base_pb2.TransportSocket:
    """All certificates of the listener in one context: Envoy picks by SNI, the first is for all other names."""
    common = tls_pb2.CommonTlsContext(
        tls_params=common_pb2.TlsParameters(tls_minimum_protocol_version=common_pb2.TlsParameters.TLSv1_2),
        alpn_protocols=["h2", "http/1.1"],
        tls_certificate_sds_secret_configs=[
            _sds(key_pair(certificate).name(materials)) for certificate in listener.tls or ()
        ],
    )
    context = tls_pb2.DownstreamTlsContext(common_tls_context=common)
    if listener.client_ca_file is not None:
        context.require_client_certificate.CopyFrom(BoolValue(value=True))
        context.common_tls_context.validation_context_sds_secret_config.CopyFrom(
            _sds(ca_name(listener.client_ca_file, materials))
        )
    return base_pb2.TransportSocket(name=TLS_TRANSPORT_SOCKET, typed_config=packed(context))


def upstream_transport_socket(
    name: str, service: Service, tls: UpstreamTls, materials: Materials
) -> base_pb2.TransportSocket:
    """TLS to a service, verified against the system's CAs (or ca_file) and the service's name."""
    server_name = tls.sni or _server_name(name, service)
    common = tls_pb2.CommonTlsContext(alpn_protocols=["http/1.1" if service.protocol == "http1" else "h2"])
    if tls.certificate_file and tls.private_key_file:
        pair = KeyPair(tls.certificate_file, tls.private_key_file)
        common.tls_certificate_sds_secret_configs.append(_sds(pair.name(materials)))
    if not tls.insecure_skip_verify:
        _verify(common, server_name, tls, materials)
    context = tls_pb2.UpstreamTlsContext(common_tls_context=common, sni="" if _is_ip(server_name) else server_name)
    return base_pb2.TransportSocket(name=TLS_TRANSPORT_SOCKET, typed_config=packed(context))


def _verify(common: tls_pb2.CommonTlsContext, server_name: str, tls: UpstreamTls, materials: Materials) -> None:
    subject = common_pb2.SubjectAltNameMatcher(
        san_type=common_pb2.SubjectAltNameMatcher.IP_ADDRESS
        if _is_ip(server_name)
        else common_pb2.SubjectAltNameMatcher.DNS,
        matcher=exact(server_name),
    )
    context = common_pb2.CertificateValidationContext(match_typed_subject_alt_names=[subject])
    if tls.ca_file is None:
        context.trusted_ca.filename = SYSTEM_CA_FILE
        common.validation_context.CopyFrom(context)
        return
    common.combined_validation_context.CopyFrom(
        tls_pb2.CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=context,
            validation_context_sds_secret_config=_sds(ca_name(tls.ca_file, materials)),
        )
    )


def _server_name(name: str, service: Service) -> str:
    """The name a service's certificate has to bear: its DNS name, or the service's own in gateway.yaml."""
    if service.dns is not None:
        return service.dns.host
    if service.kubernetes is not None:
        return f"{service.kubernetes.service}.{service.kubernetes.namespace}.svc"
    return name


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _sds(name: str) -> secret_pb2.SdsSecretConfig:
    return secret_pb2.SdsSecretConfig(name=name, sds_config=from_ads())
