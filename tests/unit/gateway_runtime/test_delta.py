"""The client's side of delta xDS."""

from collections.abc import Collection, Mapping

from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf import any_pb2

from gateway_runtime.delta import DeltaClient, Rejected

SECRETS, POLICIES = "type.example/Secret", "type.example/Policy"


class Sink:
    def __init__(self) -> None:
        self.holds: dict[str, bytes] = {}
        self.refuses = False

    def apply(self, changed: Mapping[str, bytes], removed: Collection[str]) -> None:
        if self.refuses:
            raise Rejected("no")
        self.holds.update(changed)
        for name in removed:
            self.holds.pop(name, None)


def response(
    type_url: str, nonce: str, removed: Collection[str] = (), **versions: str
) -> discovery_pb2.DeltaDiscoveryResponse:
    resources = [
        discovery_pb2.Resource(name=name, version=version, resource=any_pb2.Any(value=version.encode()))
        for name, version in versions.items()
    ]
    return discovery_pb2.DeltaDiscoveryResponse(
        type_url=type_url, nonce=nonce, resources=resources, removed_resources=removed
    )


def client() -> tuple[DeltaClient, Sink, Sink]:
    secrets, policies = Sink(), Sink()
    opened = DeltaClient(base_pb2.Node(id="n"), {SECRETS: secrets, POLICIES: policies})
    opened.open()
    return opened, secrets, policies


def test_first_requests_subscribe_to_everything_and_only_the_first_carries_the_node() -> None:
    """With the names that somebody waits for beside the wildcard."""
    opened = DeltaClient(base_pb2.Node(id="n"), {SECRETS: Sink(), POLICIES: Sink()})
    first, second = opened.open([(POLICIES, "p")])

    assert ("n", ["*"]) == (first.node.id, list(first.resource_names_subscribe))
    assert ("", ["*", "p"]) == (second.node.id, list(second.resource_names_subscribe))


def test_what_is_referred_to_is_applied_first() -> None:
    """Policies that come before the secrets' first answer are held."""
    opened, secrets, policies = client()
    assert [] == opened.receive(response(POLICIES, "1", p="1"))
    assert {} == policies.holds
    settled = opened.receive(response(SECRETS, "2", s="1"))

    assert ["2", "1"] == [answer.response_nonce for _, answer in settled]
    assert ({"s": b"1"}, {"p": b"1"}) == (secrets.holds, policies.holds)
    assert opened.is_complete


def test_a_refusal_is_a_nack_and_counts_as_not_held() -> None:
    """The next stream brings the versions that were taken."""
    opened, _, policies = client()
    opened.receive(response(SECRETS, "1"))
    opened.receive(response(POLICIES, "2", p="1"))
    policies.refuses = True
    ((_, answer),) = opened.receive(response(POLICIES, "3", p="2", q="1"))
    _, again = opened.open()

    assert "no" == answer.error_detail.message
    assert {"p": "1"} == dict(again.initial_resource_versions)
    assert not opened.holds(POLICIES, "q")


def test_a_refused_first_answer_is_not_complete() -> None:
    """A service that could compile nothing is not ready."""
    opened, secrets, _ = client()
    secrets.refuses = True
    opened.receive(response(SECRETS, "1", s="1"))
    opened.receive(response(POLICIES, "2"))
    assert not opened.is_complete
    secrets.refuses = False
    opened.receive(response(SECRETS, "3", s="2"))

    assert opened.is_complete


def test_what_is_removed_is_not_brought_again() -> None:
    """Nor counted as held."""
    opened, _, policies = client()
    opened.receive(response(SECRETS, "1"))
    opened.receive(response(POLICIES, "2", p="1", q="1"))
    opened.receive(response(POLICIES, "3", removed=["p"]))
    _, again = opened.open()

    assert {"q": "1"} == dict(again.initial_resource_versions)
    assert {"q": b"1"} == policies.holds


def test_a_type_that_was_not_asked_for_is_left_aside() -> None:
    """Neither applied nor answered."""
    opened, _, _ = client()

    assert [] == opened.receive(response("type.example/Other", "1"))
