"""The rules of state-of-the-world xDS, one test or more each; the numbers are those of docs/xds.md."""

from control_plane.resource_types import CLUSTER_LOAD_ASSIGNMENT, LISTENER, ROUTE_CONFIGURATION
from tests.unit.control_plane.xds.served import Served, SotwStream


def clusters(**versions: str) -> SotwStream:
    """A stream of clusters, whose responses hold everything."""
    view = Served()
    view.put(**versions)
    return SotwStream(view)


def routes(**versions: str) -> SotwStream:
    """A stream of routes, whose responses hold what changed."""
    view = Served(ROUTE_CONFIGURATION)
    view.put(**versions)
    return SotwStream(view)


def test_rule_03_every_response_has_a_fresh_nonce() -> None:
    """Two responses of a stream never share a nonce."""
    stream = clusters(a="1")
    stream.request()
    stream.received()
    first = stream.nonce
    stream.request()
    stream.view.put(stream.subscription, a="2")
    stream.received()

    assert first != stream.nonce
    assert "" not in (first, stream.nonce)


def test_rule_03_first_request_counts_whatever_its_nonce() -> None:
    """A client that brings a nonce from an earlier stream is answered all the same."""
    stream = clusters(a="1")
    stream.request(nonce="from-another-life")

    assert {"a": "1"} == stream.received()


def test_rule_04_stale_nonce_gets_no_response() -> None:
    """A request with another nonce than the last one is not answered, whatever it names."""
    stream = routes(a="1", b="1")
    stream.request("a")
    stream.received()
    stream.request("a")
    stream.view.put(stream.subscription, a="2")
    stream.received()
    stale = stream.request("a", "b", nonce="1")

    assert stale is None
    stream.now += 60
    assert stream.received() is None


def test_rule_05_names_of_a_stale_request_come_again_with_the_ack() -> None:
    """A name that a stale request brought is served when the ACK of the newest response repeats it."""
    stream = routes(a="1", b="1")
    stream.request("a")
    stream.received()
    stream.request("a")
    stream.view.put(stream.subscription, a="2")
    stream.received()
    stream.request("a", "b", nonce="1")
    stream.request("a", "b")

    assert {"b": "1"} == stream.received()


def test_rule_05_update_storm_converges() -> None:
    """With one response outstanding at a time, a storm of updates ends with the newest content at the client."""
    stream = routes(a="0")
    stream.request("a")
    responses = []
    for number in range(1, 1001):
        stream.view.put(stream.subscription, a=str(number))
        if (received := stream.received()) is not None:
            responses.append(received)
        if number % 100 == 0:
            stream.request("a")
    while (received := stream.received()) is not None:
        responses.append(received)
        stream.request("a")

    assert {"a": "1000"} == responses[-1]
    assert len(responses) <= 12


def test_rule_05_an_answer_is_awaited_5_s_at_most() -> None:
    """A client that never answers gets the newest content 5 s after the last response."""
    stream = routes(a="1")
    stream.request("a")
    stream.received()
    stream.view.put(stream.subscription, a="2")
    stream.now = 4.9
    assert stream.received() is None
    stream.now = 5.0

    assert {"a": "2"} == stream.received()


def test_rule_06_nack_is_told_by_error_detail_alone() -> None:
    """A request with the newest version and an error is a NACK, one with an old version and none is an ACK."""
    stream = routes(a="1")
    stream.request("a")
    stream.received()
    nack = stream.request("a", version=stream.version, error="no")
    stream.view.put(stream.subscription, a="2")
    stream.received()
    ack = stream.request("a", version="something old")

    assert nack is not None
    assert "no" == nack.error
    assert ack is not None
    assert ack.error is None


def test_rule_07_nothing_after_a_nack_until_the_content_changes() -> None:
    """A refused resource is not sent again, however often the client asks or other content changes."""
    stream = routes(a="1")
    stream.request("a")
    stream.received()
    stream.request("a", error="bad a")
    for _ in range(10):
        stream.now += 60
        stream.request("a", error="bad a")
        assert stream.received() is None
    stream.view.put(stream.subscription, a="2")

    assert {"a": "2"} == stream.received()


def test_rule_07_a_nack_is_recorded() -> None:
    """What was refused, why and when is kept until the client takes something else in its place."""
    stream = routes(a="1")
    stream.request("a")
    stream.received()
    stream.now = 3.0
    stream.request("a", error="bad a")
    nack = stream.subscription.nack
    assert nack is not None
    assert (stream.version, ("a",), "bad a", 3.0) == (nack.version, nack.names, nack.message, nack.at)
    stream.view.put(stream.subscription, a="2")
    stream.received()
    stream.request("a")

    assert stream.subscription.nack is None


def test_rule_07_full_state_after_a_nack_holds_the_last_good_content() -> None:
    """When another cluster changes after a NACK, the full set goes out with the refused one as it was before."""
    stream = clusters(a="1", b="1")
    stream.request()
    stream.received()
    stream.request()
    stream.view.put(stream.subscription, a="2")
    stream.received()
    stream.request(error="bad a")
    assert stream.received() is None
    stream.view.put(stream.subscription, b="2")

    assert {"a": "1", "b": "2"} == stream.received()


def test_rule_07_going_back_to_the_last_good_content_sends_nothing() -> None:
    """A refused edit that is taken back leaves the client with what it has."""
    stream = clusters(a="1")
    stream.request()
    stream.received()
    stream.request()
    stream.view.put(stream.subscription, a="2")
    stream.received()
    stream.request(error="bad a")
    stream.view.put(stream.subscription, a="1")

    assert stream.received() is None


def test_rule_07_the_culprit_among_several_is_found_and_the_others_are_delivered() -> None:
    """After a NACK of eight changes that names nobody, seven arrive and one stays as it was."""
    names = "abcdefgh"
    stream = clusters(**dict.fromkeys(names, "1"))
    stream.request()
    stream.received()
    stream.request()
    stream.view.put(stream.subscription, **dict.fromkeys(names, "2"))
    holds: dict[str, str] = {}
    rounds = 0
    while (received := stream.received()) is not None:
        rounds += 1
        if received.get("f") == "2":
            stream.request(error="one of them is bad")
        else:
            holds = received
            stream.request()

    assert {**dict.fromkeys(names, "2"), "f": "1"} == holds
    assert rounds <= 1 + 4


def test_rule_08_an_ack_gets_no_answer() -> None:
    """Unchanged content is never sent again."""
    stream = clusters(a="1")
    stream.request()
    stream.received()
    stream.request()
    stream.view.put(stream.subscription, a="1")

    assert stream.received() is None


def test_rule_09_only_the_latest_request_counts() -> None:
    """Names of a request that another one followed before the response are not served."""
    stream = routes(a="1", b="1")
    stream.request("a", nonce="")
    stream.request("b", nonce="")

    assert {"b": "1"} == stream.received()


def test_rule_10_full_state_holds_everything() -> None:
    """A response of clusters holds the unchanged ones too, and lacks those that are gone."""
    stream = clusters(a="1", b="1", c="1")
    stream.request()
    stream.received()
    stream.request()
    stream.view.put(a="2")
    stream.view.remove("b", subscription=stream.subscription)
    stream.subscription.mark(["a"])

    assert {"a": "2", "c": "1"} == stream.received()


def test_rule_10_the_last_one_gone_is_an_empty_response() -> None:
    """Deleting every listener sends an empty set."""
    stream = SotwStream(Served(LISTENER))
    stream.view.put(a="1")
    stream.request()
    stream.received()
    stream.request()
    stream.view.remove("a", subscription=stream.subscription)

    assert {} == stream.received()


def test_rule_11_other_types_hold_only_what_changed() -> None:
    """A response of routes holds the changed one only, and a deletion sends nothing."""
    stream = routes(a="1", b="1", c="1")
    stream.request("a", "b", "c")
    stream.received()
    stream.request("a", "b", "c")
    stream.view.put(stream.subscription, a="2")
    assert {"a": "2"} == stream.received()
    stream.request("a", "b", "c")
    stream.view.remove("b", subscription=stream.subscription)

    assert stream.received() is None


def test_rule_12_a_new_name_is_sent_at_once() -> None:
    """A name that an ACK adds is answered although nothing has changed."""
    stream = routes(a="1", b="1")
    stream.request("a")
    stream.received()
    stream.request("a", "b")

    assert {"b": "1"} == stream.received()


def test_rule_13_unsubscribed_and_subscribed_again_is_sent_again() -> None:
    """The client may have dropped what it unsubscribed from."""
    stream = routes(a="1", b="1")
    stream.request("a", "b")
    stream.received()
    stream.request("b")
    assert stream.received() is None
    stream.request("a", "b")

    assert {"a": "1"} == stream.received()


def test_rule_14_a_name_that_does_not_exist_is_remembered() -> None:
    """It is sent when it appears."""
    stream = routes(a="1")
    stream.request("a", "later")
    assert {"a": "1"} == stream.received()
    stream.request("a", "later")
    assert stream.received() is None
    stream.view.put(stream.subscription, later="1")

    assert {"later": "1"} == stream.received()


def test_rule_15_no_name_ever_is_the_wildcard() -> None:
    """A client that has never named anything gets everything, also what appears later."""
    stream = clusters(a="1")
    stream.request()
    assert {"a": "1"} == stream.received()
    stream.request()
    stream.view.put(stream.subscription, b="1")

    assert {"a": "1", "b": "1"} == stream.received()


def test_rule_15_no_name_after_an_explicit_one_is_nothing() -> None:
    """An empty list unsubscribes a client that has named something before."""
    stream = routes(a="1", b="1")
    stream.request("a")
    stream.received()
    stream.request()
    stream.view.put(stream.subscription, a="2", b="2")

    assert stream.received() is None


def test_rule_15_no_name_after_a_star_is_nothing() -> None:
    """The star counts as an explicit name."""
    stream = clusters(a="1")
    stream.request("*")
    stream.received()
    stream.request()
    stream.view.put(stream.subscription, a="2")

    assert stream.received() is None


def test_rule_16_star_and_a_name_then_the_name_alone() -> None:
    """Dropping the star leaves the named resource subscribed."""
    stream = clusters(a="1", b="1")
    stream.request("*", "a")
    assert {"a": "1", "b": "1"} == stream.received()
    stream.request("a")
    assert stream.received() is None
    stream.view.put(stream.subscription, b="2")
    assert stream.received() is None
    stream.view.put(stream.subscription, a="2")

    assert {"a": "2"} == stream.received()


def test_rule_17_a_name_is_never_twice_in_a_response() -> None:
    """A name that is asked for twice, and by the star too, comes once."""
    stream = clusters(a="1")
    stream.request("*", "a", "a")
    push = stream.take()

    assert push is not None
    assert 1 == push.payload.count(b"a@1")


def test_rule_18_first_wildcard_request_is_answered_even_when_empty() -> None:
    """Envoy would wait 15 s for the first clusters otherwise."""
    stream = clusters()
    stream.request()

    assert {} == stream.received()


def test_rule_18_named_clusters_that_do_not_exist_are_answered() -> None:
    """A client that names a listener or cluster learns from the full set that there is none."""
    stream = clusters()
    stream.request("a")

    assert {} == stream.received()


def test_rule_20_same_version_on_reconnect_sends_nothing() -> None:
    """A pure wildcard client that brings the version we have is not sent everything again."""
    before = clusters(a="1", b="1")
    before.request()
    before.received()
    again = clusters(a="1", b="1")
    again.request(version=before.version)
    assert again.received() is None
    again.view.put(again.subscription, a="2")

    assert {"a": "2", "b": "1"} == again.received()


def test_rule_20_another_version_on_reconnect_sends_everything() -> None:
    """A version that is not ours proves nothing."""
    stream = clusters(a="1")
    stream.request(version="0123456789abcdef")

    assert {"a": "1"} == stream.received()


def test_rule_20_named_types_are_sent_on_reconnect() -> None:
    """A version says nothing about which names the client holds."""
    before = routes(a="1")
    before.request("a")
    before.received()
    again = routes(a="1")
    again.request("a", version=before.version)

    assert {"a": "1"} == again.received()


def test_rule_32_what_is_forced_is_sent_although_equal() -> None:
    """An assignment is sent again after its cluster has changed."""
    stream = SotwStream(Served(CLUSTER_LOAD_ASSIGNMENT))
    stream.view.put(a="1", b="1")
    stream.request("a", "b")
    stream.received()
    stream.request("a", "b")
    stream.subscription.force(["a", "unknown"])

    assert {"a": "1"} == stream.received()
