"""Messages as JSON values and back."""

import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.compressor.v3 import compressor_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2
from envoy.type.matcher.v3 import string_pb2

from control_plane.translate.messages import packed
from control_plane.translate.plain import (
    CONTENT_TYPE_MATCHER,
    REDACTED,
    WEAKEN_ETAG_ON_COMPRESS,
    Plain,
    from_plain,
    message_named,
    to_plain,
)


def test_secrets_are_hidden_unless_asked_for() -> None:
    """Private keys and generic secrets print as [redacted]; certificates are no secret."""
    key = common_pb2.TlsCertificate(
        certificate_chain=base_pb2.DataSource(inline_string="public"),
        private_key=base_pb2.DataSource(inline_string="hush"),
    )
    generic = secret_pb2.GenericSecret
    secrets = [
        secret_pb2.Secret(name="tls", tls_certificate=key),
        secret_pb2.Secret(name="hmac", generic_secret=generic(secret=base_pb2.DataSource(inline_string="hush"))),
    ]

    for secret in secrets:
        assert "hush" not in str(to_plain(secret))
        assert REDACTED in str(to_plain(secret))
        assert "hush" in str(to_plain(secret, show_secrets=True))
        assert "hush" not in str(to_plain(packed(secret)))
    assert "public" in str(to_plain(secrets[0]))


def test_fields_newer_than_the_package_survive() -> None:
    """What was merged as bytes has its name in the plain form and comes back as the same bytes."""
    common = compressor_pb2.Compressor.CommonDirectionConfig()
    common.MergeFromString(CONTENT_TYPE_MATCHER.encoded([string_pb2.StringMatcher(suffix="x" * 200)]))
    direction = compressor_pb2.Compressor.ResponseDirectionConfig(common_config=common)
    direction.MergeFromString(WEAKEN_ETAG_ON_COMPRESS.encoded(True))
    message = compressor_pb2.Compressor(response_direction_config=direction)
    plain = to_plain(message)

    assert {
        "response_direction_config": {
            "common_config": {"content_type_matcher": [{"suffix": "x" * 200}]},
            "weaken_etag_on_compress": True,
        }
    } == plain
    assert message == from_plain(plain, compressor_pb2.Compressor())


@pytest.mark.parametrize(
    "plain",
    [
        {"nmae": "typo"},
        {"name": 7},
        {"lb_policy": "FASTEST"},
        {"connect_timeout": "soon"},
        {"health_checks": {"not": "a list"}},
        {"typed_extension_protocol_options": {"x": {"@type": "type.googleapis.com/no.such.Type"}}},
        {"typed_extension_protocol_options": {"x": {"name": "no type"}}},
    ],
)
def test_what_does_not_fit_is_refused(plain: dict[str, object]) -> None:
    """An unknown field, a wrong type and an unknown name are errors that say where."""
    with pytest.raises(ValueError, match=r"\w"):
        from_plain(plain, cluster_pb2.Cluster())  # type: ignore[arg-type]


def test_any_extension_of_envoy_can_be_named() -> None:
    """Also one that nothing here uses."""
    plain: dict[str, Plain] = {"filter_enabled": {"default_value": {"numerator": 100}}}
    message = message_named("envoy.extensions.filters.http.csrf.v3.CsrfPolicy")

    assert plain == to_plain(from_plain(plain, message))


@pytest.mark.parametrize(
    "name", ["os.Path", "envoy.nowhere.v3.Filter", "envoy.extensions.filters.http.csrf.v3.Nothing", "envoy..v3.X", ""]
)
def test_a_type_that_is_not_there(name: str) -> None:
    """No module outside of Envoy's API is looked at."""
    with pytest.raises(ValueError, match="there is no message type"):
        message_named(name)
