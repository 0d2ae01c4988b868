"""What credentials are good for."""

import hashlib

import pytest

from control_plane.resource_types import NodeKind
from control_plane.xds.access import (
    ANYBODY,
    Access,
    ClientsFileError,
    Grant,
    NotAllowedError,
    Presented,
    UnauthenticatedError,
    grant_of_names,
    parse_clients,
)

ENVOY = frozenset({NodeKind.ENVOY.value})
AUTHZ = frozenset({NodeKind.EXT_AUTHZ.value})


@pytest.mark.parametrize(
    ("name", "gateways", "kinds"),
    [
        ("spiffe://cluster.local/gateway/shop/envoy", {"shop"}, ENVOY),
        ("spiffe://cluster.local/gateway/ext-authz", None, AUTHZ),
        ("envoy.shop.gateway", {"shop"}, ENVOY),
        ("ext-authz.gateway", None, AUTHZ),
    ],
)
def test_a_certificate_says_itself_what_it_is_for(name: str, gateways: set[str] | None, kinds: frozenset[str]) -> None:
    """By a SPIFFE ID or a DNS name; without a gateway it is good for all."""
    expected = Grant(name, frozenset(gateways) if gateways is not None else None, kinds)

    assert expected == grant_of_names(["unrelated.example.com", name])


@pytest.mark.parametrize(
    "name",
    [
        "example.com",
        "spiffe://cluster.local/ns/x/sa/y",
        "spiffe://d/gateway/",
        "spiffe://d/gateway/a/b/envoy",
        "spiffe://d/gateway/shop/admin",
        "envoy.shop.gateway.evil.com",
        "https://d/gateway/shop/envoy",
    ],
)
def test_other_names_are_good_for_nothing(name: str) -> None:
    """A name that only looks alike grants nothing."""
    assert grant_of_names([name]) is None


def test_the_first_name_counts() -> None:
    """Two names together mean no more than one of them."""
    found = grant_of_names(["envoy.a.gateway", "ext-authz.gateway"])

    assert Grant("envoy.a.gateway", frozenset({"a"}), ENVOY) == found


def test_a_grant_covers_its_gateways_and_kinds_only() -> None:
    """Neither another gateway, nor all gateways, nor another kind."""
    grant = Grant("x", frozenset({"a"}), ENVOY)
    grant.check("a", "envoy")

    for cluster, kind in (("b", "envoy"), ("", "envoy"), ("a", "meetinity-ext-authz")):
        with pytest.raises(NotAllowedError):
            grant.check(cluster, kind)


async def test_nothing_asked_means_anybody() -> None:
    """Loopback without credentials."""
    assert ANYBODY == await Access().grant(Presented())


async def test_the_shared_token_is_good_for_everything_and_nothing_else_is() -> None:
    """A missing token and a wrong one are told apart from each other, not from the right one's prefix."""
    access = Access(token="secret")

    assert (await access.grant(Presented(token="secret"))).gateways is None
    for token in ("", "secre", "secret2"):
        with pytest.raises(UnauthenticatedError):
            await access.grant(Presented(token=token))


async def test_the_clients_file_maps_all_three_credentials() -> None:
    """Certificates by name, ServiceAccounts by namespace/name, tokens by digest."""
    digest = hashlib.sha256(b"t").hexdigest()
    clients = parse_clients(
        f"""
        clients:
          - {{certificate: "spiffe://d/ns/a/sa/b", gateways: [a], kinds: [envoy]}}
          - {{service_account: ns/authz, kinds: [ext-authz]}}
          - {{token_sha256: "{digest}", gateways: [c], kinds: [envoy, status]}}
        """,
        "clients.yaml",
    )

    async def review(token: str) -> str | None:
        return {"sa": "ns/authz", "other": "ns/other"}.get(token)

    access = Access(wants_certificate=True, clients=lambda: clients, review=review)

    assert frozenset({"a"}) == (await access.grant(Presented(names=["spiffe://d/ns/a/sa/b"]))).gateways
    assert AUTHZ == (await access.grant(Presented(token="sa"))).kinds
    assert frozenset({"c"}) == (await access.grant(Presented(token="t"))).gateways
    with pytest.raises(NotAllowedError):
        await access.grant(Presented(token="other"))
    with pytest.raises(UnauthenticatedError):
        await access.grant(Presented(token="nobody"))
    with pytest.raises(NotAllowedError):
        await access.grant(Presented(names=["envoy.a.gateway"]))


@pytest.mark.parametrize(
    "text",
    [
        "clients: {",
        "clients: [{kinds: [envoy]}]",
        "clients: [{certificate: a, service_account: a/b, kinds: [envoy]}]",
        "clients: [{certificate: a, kinds: []}]",
        "clients: [{certificate: a, kinds: [admin]}]",
        "clients: [{certificate: a, kinds: [envoy], more: 1}]",
        "clients: [{token_sha256: abc, kinds: [envoy]}]",
        "clients: [{certificate: a, kinds: [envoy]}, {certificate: a, kinds: [status]}]",
        "",
    ],
)
def test_a_faulty_clients_file_is_told_in_one_line(text: str) -> None:
    """With its path."""
    with pytest.raises(ClientsFileError) as caught:
        parse_clients(text, "/etc/clients.yaml")

    assert str(caught.value).startswith("/etc/clients.yaml: ")
    assert "\n" not in str(caught.value)


def test_tokens_do_not_print() -> None:
    """Neither in a repr nor in the identity of a log line."""
    clients = parse_clients(
        f"clients: [{{token_sha256: {'a' * 64}, kinds: [envoy]}}]",
        "f",
    )

    assert "hush" not in repr(Presented(token="hush"))
    assert "token of clients.0" == clients.tokens["a" * 64].identity
