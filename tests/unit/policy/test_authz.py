"""The parts of a compiled AuthzPolicy: claims, networks, quotas, keys."""

import json
from ipaddress import IPv6Network, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.api_keys import api_keys
from policy.authz import Inputs, Place, compile_policy
from policy.claims import claim_at, claim_texts, header_text
from policy.errors import PolicyError
from policy.jwks import MAX_BYTES, MAX_KEYS, key_set
from policy.networks import Address, bucket_text, is_public, network_set, parse_address
from tests.unit.ext_authz.fixtures import any_of, authz_policy, ec_key, jwk, jwks, jwt_method, rsa_key

MAPPED = IPv6Network("::ffff:0:0/96")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("a", 1), ("b.c", 2), ("b", {"c": 2}), ("b.c.d", None), ("x", None), ("u.v", "dotted"), ("n", None), ("", None)],
)
def test_claim_at(name: str, expected: object) -> None:
    """A claim's own name goes before a path; what is not there, or null, is None."""
    claims = {"a": 1, "b": {"c": 2}, "u.v": "dotted", "u": {"v": "nested"}, "n": None}

    assert claim_at(claims, name) == expected


def test_claim_texts() -> None:
    """Scalars of an array are its values; what is nested deeper has none."""
    assert claim_texts(["a", 1, True, None, ["b"]]) == ("a", "1", "true")
    assert claim_texts({"a": 1}) == ()


@pytest.mark.parametrize("value", [["a,b"], "a\r", "\n", "a\0", ["ok", "no\t"]])
def test_header_text_refuses(value: object) -> None:
    """What could break or fake a header raises."""
    with pytest.raises(ValueError):
        header_text(value)


@given(
    st.lists(st.tuples(st.ip_addresses(), st.integers(0, 128)), max_size=20),
    st.ip_addresses(),
)
def test_networks_like_the_standard_library(texts: list[tuple[Address, int]], address: Address) -> None:
    """Membership is that of the ipaddress module, with IPv4-mapped addresses read as IPv4."""
    networks = [ip_network(f"{each}/{min(length, each.max_prefixlen)}", strict=False) for each, length in texts]
    parsed = parse_address(str(address))
    assert parsed is not None

    found = parsed in network_set(str(network) for network in networks)
    as_mapped = ip_address(f"::ffff:{parsed}") if parsed.version == 4 else parsed
    expected = any(
        parsed in network or (isinstance(network, IPv6Network) and network.subnet_of(MAPPED) and as_mapped in network)
        for network in networks
    )

    assert found == expected


@pytest.mark.parametrize(
    "text", ["", "unknown", "10.0.0.1:80", "[::1]", "10.0.0", "::g", "010.0.0.1", " 10.0.0.1", "1"]
)
def test_no_address(text: str) -> None:
    """Only a bare literal is an address."""
    assert parse_address(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8.8.8.8", True),
        ("2001:4860::1", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::808:808", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b:1::a00:1", False),
        ("2002:a00:1::", False),
        ("2001:0:a00:1::", False),
        ("fec0::1", False),
        ("fd00::1", False),
        ("fe80::1%eth0", False),
        ("ff02::1", False),
    ],
)
def test_public_addresses(text: str, expected: bool) -> None:
    """Private, local and shared ones are none, in IPv6's ways of saying an IPv4 address neither."""
    assert expected == is_public(ip_address(text))


def test_bucket_text() -> None:
    """IPv4 alone, IPv6 by /64."""
    texts = ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::"]

    assert [bucket_text(address) for text in texts if (address := parse_address(text))] == [
        "10.0.0.1",
        "10.0.0.1",
        "2001:db8::/64",
        "2001:db8::/64",
        "2001:db8:0:1::/64",
    ]


def test_key_set_passes_over_what_it_cannot_use() -> None:
    """Unknown and unfit keys are skipped; one that is left is enough."""
    unfit = [{"kty": "XYZ"}, jwk(rsa_key(), "e", use="enc"), {"kty": "oct", "k": "c2hvcnQ"}, "nonsense", {"kty": "EC"}]
    keys = key_set(jwks(*unfit, jwk(ec_key(), "good")), symmetric=False)  # type: ignore[arg-type]

    assert [key.kid for key in keys.keys] == ["good"]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        b"\xff",
        b"[" * 100_000,
        b" " * (MAX_BYTES + 1),
        json.dumps({"keys": [{"kty": "XYZ"}] * (MAX_KEYS + 1)}).encode(),
        jwks({"kty": "oct", "k": "c" * 60}),
        jwks(jwk(ec_key(), "k") | {"y": "AAAA"}),
        jwks(jwk(ec_key(), "k") | {"kid": 7}),
    ],
    ids=["nothing", "list", "object", "mapping", "none", "octets", "deep", "long", "many", "oct", "point", "kid"],
)
def test_key_sets_without_a_key(text: bytes) -> None:
    """What holds no usable key does not compile."""
    with pytest.raises(PolicyError):
        key_set(text, symmetric=False)


@pytest.mark.parametrize(
    "entries",
    [
        "no json",
        "{}",
        '[{"id": "a"}]',
        '[{"id": "a", "sha256": "00"}]',
        json.dumps([{"id": "", "sha256": "0" * 64}]),
        json.dumps([{"id": "a", "sha256": "0" * 64, "attributes": {"a": 1}}]),
        json.dumps([{"id": "a", "sha256": "0" * 64}, {"id": "b", "sha256": "0" * 64}]),
    ],
)
def test_bad_api_keys(entries: str) -> None:
    """Entries without id or digest, and one key for two ids, do not compile."""
    with pytest.raises(PolicyError):
        api_keys(entries.encode())


def test_rotation_of_api_keys() -> None:
    """One id may have two keys at a time."""
    keys = api_keys(json.dumps([{"id": "a", "sha256": digit * 64} for digit in "01"]).encode())

    assert [key.id for key in keys.values()] == ["a", "a"]


def test_hidden_credentials() -> None:
    """Tokens from cookies and queries never reach the service; those in headers as the provider says."""
    sources = [{"header": "X-Token"}, {"cookie": "c"}, {"query": "q"}]
    secrets = {"hmac": b"x" * 32}
    shown, hidden = (
        compile_policy(
            authz_policy(authentication=any_of(jwt_method(sources=sources, forward=forward))), Inputs(secrets)
        )
        for forward in (True, False)
    )
    assert shown.authentication is not None
    assert hidden.authentication is not None

    assert shown.authentication.hidden == {
        Place.HEADER: frozenset(),
        Place.COOKIE: frozenset({"c"}),
        Place.QUERY: frozenset({"q"}),
    }
    assert hidden.authentication.hidden[Place.HEADER] == frozenset({"x-token"})


def test_claim_headers_are_identity_headers() -> None:
    """A header that a method sets is removed from requests even if nobody listed it."""
    policy = compile_policy(
        authz_policy(authentication=any_of(jwt_method(forward_claims={"sub": "X-User"}))), Inputs({"hmac": b"x" * 32})
    )

    assert policy.identity_headers == frozenset({"x-user"})
