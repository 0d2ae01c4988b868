"""The rules of incremental xDS, one test or more each; the numbers are those of docs/xds.md."""

from control_plane.resource_types import ROUTE_CONFIGURATION
from tests.unit.control_plane.xds.served import DeltaStream, Served


def clusters(**versions: str) -> DeltaStream:
    view = Served()
    view.put(**versions)
    return DeltaStream(view)


def routes(**versions: str) -> DeltaStream:
    view = Served(ROUTE_CONFIGURATION)
    view.put(**versions)
    return DeltaStream(view)


def test_rule_21_subscriptions_count_whatever_the_nonce() -> None:
    """A stale or empty nonce answers nothing, but its names are honoured."""
    stream = routes(a="1", b="1", c="1")
    stream.request("a")
    stream.received()
    stream.ack()
    assert stream.request("b", nonce="stale") is None
    assert {"b": "1"} == stream.received()
    assert stream.request("c") is None
    stream.ack()

    assert {"c": "1"} == stream.received()


def test_rule_22_a_name_subscribed_to_again_is_sent_again() -> None:
    """The client may have forgotten what it had."""
    stream = routes(a="1")
    stream.request("a")
    stream.received()
    stream.ack()
    stream.request("a")

    assert {"a": "1"} == stream.received()


def test_rule_22_a_star_subscribed_to_again_sends_everything_again() -> None:
    """The star is a name as others are."""
    stream = clusters(a="1", b="1")
    stream.request("*")
    stream.received()
    stream.ack()
    stream.request("*")

    assert {"a": "1", "b": "1"} == stream.received()


def test_rule_23_a_name_that_does_not_exist_is_removed_and_sent_when_created() -> None:
    """The client learns at once that there is none, and gets it later."""
    stream = routes(a="1")
    stream.request("later")
    assert {} == stream.received()
    assert ("later",) == stream.removed
    stream.ack()
    assert stream.received() is None
    stream.view.put(stream.subscription, later="1")

    assert {"later": "1"} == stream.received()


def test_rule_23_a_missing_name_beside_the_wildcard_is_removed() -> None:
    """A service that asks for a policy by name learns that it does not exist yet."""
    stream = clusters(a="1")
    stream.request()
    stream.received()
    stream.ack()
    stream.request("later")
    assert {} == stream.received()

    assert ("later",) == stream.removed


def test_rule_24_initial_versions_spare_what_is_equal() -> None:
    """A reconnecting client gets what changed and is told what is gone."""
    stream = clusters(same="1", changed="2", new="1")
    stream.request("*", initial={"same": "1", "changed": "1", "gone": "1"})
    assert {"changed": "2", "new": "1"} == stream.received()

    assert ("gone",) == stream.removed


def test_rule_24_initial_versions_of_what_is_no_longer_wanted_are_removed() -> None:
    """A name that the client brings but does not subscribe to is taken from it."""
    stream = routes(a="1", b="1")
    stream.request("a", initial={"a": "1", "b": "1"})
    assert {} == stream.received()

    assert ("b",) == stream.removed


def test_rule_24_named_and_equal_is_not_sent() -> None:
    """Nothing goes to a client that has everything it names."""
    stream = routes(a="1")
    stream.request("a", initial={"a": "1"})

    assert stream.received() is None


def test_rule_25_unsubscribing_needs_no_answer() -> None:
    """Also of names that were never subscribed to."""
    stream = routes(a="1")
    stream.request("a")
    stream.received()
    stream.ack()
    stream.request(unsubscribe=["a", "unknown"])
    stream.view.put(stream.subscription, a="2")

    assert stream.received() is None


def test_rule_25_unsubscribing_a_name_beside_the_wildcard_is_answered() -> None:
    """The wildcard still covers the name: the client is told whether it is there."""
    stream = clusters(a="1")
    stream.request("*", "a", "missing")
    stream.received()
    stream.ack()
    stream.request(unsubscribe=["a", "missing"])
    assert {"a": "1"} == stream.received()

    assert ("missing",) == stream.removed


def test_rule_26_an_empty_first_subscription_is_the_wildcard() -> None:
    """A name subscribed to later keeps it; without the star the name is left."""
    stream = clusters(a="1", b="1")
    stream.request()
    assert {"a": "1", "b": "1"} == stream.received()
    stream.ack()
    stream.request("a")
    assert {"a": "1"} == stream.received()
    stream.ack()
    stream.view.put(stream.subscription, b="2")
    assert {"b": "2"} == stream.received()
    stream.ack()
    stream.request(unsubscribe=["*"])
    stream.view.put(stream.subscription, a="3", b="3")

    assert {"a": "3"} == stream.received()


def test_rule_27_only_what_changed_is_sent() -> None:
    """Each resource has a version of its own, and only known ones are removed."""
    stream = clusters(a="1", b="1")
    stream.request()
    stream.received()
    stream.ack()
    stream.view.put(stream.subscription, a="2", never="1")
    stream.view.remove("b", subscription=stream.subscription)
    stream.view.remove("never", subscription=stream.subscription)
    assert {"a": "2"} == stream.received()

    assert ("b",) == stream.removed


def test_rule_28_first_wildcard_request_is_answered_even_when_empty() -> None:
    """Also when initial versions leave nothing to send."""
    empty, equal = clusters(), clusters(a="1")
    empty.request()
    equal.request("*", initial={"a": "1"})

    assert {} == empty.received()
    assert {} == equal.received()


def test_rule_29_refused_is_not_sent_again_until_it_changes() -> None:
    """And the next different content goes out at once."""
    stream = clusters(a="1")
    stream.request()
    stream.received()
    stream.nack()
    for _ in range(10):
        stream.now += 60
        assert stream.received() is None
    stream.view.put(stream.subscription, a="2")

    assert {"a": "2"} == stream.received()


def test_rule_29_refused_is_not_known() -> None:
    """A resource that the client never took is not acknowledged, and going back to the old content sends nothing."""
    stream = clusters(a="1")
    stream.request()
    stream.received()
    stream.ack()
    stream.view.put(stream.subscription, a="2")
    stream.received()
    stream.nack()
    assert not stream.subscription.has_acknowledged("a", "2")
    assert stream.subscription.has_acknowledged("a", "1")
    stream.view.put(stream.subscription, a="1")

    assert stream.received() is None


def test_rule_29_a_named_culprit_costs_one_more_response() -> None:
    """If the NACK names the bad one, the others are sent once more and the bad one stays parked."""
    stream = clusters(a="1", b="1", c="1")
    stream.request()
    stream.received()
    stream.nack("Error adding/updating cluster(s) b: no such thing")
    assert {"a": "1", "c": "1"} == stream.received()
    stream.ack()
    assert stream.received() is None

    assert {"b": "1"} == stream.subscription.quarantine.parked


def test_rule_29_the_culprit_among_many_is_found_by_halves() -> None:
    """Of 64 changes 63 arrive, in at most log2(64) + 1 further responses."""
    names = [f"c{number:02}" for number in range(64)]
    stream = clusters(**dict.fromkeys(names, "1"))
    stream.request()
    taken: set[str] = set()
    rounds = 0
    while (received := stream.received()) is not None:
        rounds += 1
        if "c37" in received:
            stream.nack("something is bad")
        else:
            taken |= received.keys()
            stream.ack()

    assert set(names) - {"c37"} == taken
    assert rounds <= 1 + 7


def test_rule_29_a_fix_ends_the_search() -> None:
    """New content of a suspect goes out with the next response."""
    stream = clusters(a="1", b="1")
    stream.request()
    stream.received()
    stream.nack("something is bad")
    stream.view.put(stream.subscription, a="2", b="2")
    assert {"a": "2", "b": "2"} == stream.received()
    stream.ack()

    assert {} == stream.subscription.quarantine.parked


def test_rule_29_a_client_that_falls_silent_in_the_search_is_not_waited_for() -> None:
    """After 5 s the rest of the suspects is parked and other changes go out."""
    stream = clusters(a="1", b="1", c="1", d="1")
    stream.request()
    stream.received()
    stream.nack("something is bad")
    stream.received()
    stream.view.put(stream.subscription, e="1")
    assert stream.received() is None
    stream.now += 5

    assert {"e": "1"} == stream.received()


def test_rule_35_an_unanswered_response_delays_the_newest_by_5_s_at_most() -> None:
    """Changes in between cost one response, not one each."""
    stream = clusters(a="0")
    stream.request()
    stream.received()
    for number in range(1, 100):
        stream.view.put(stream.subscription, a=str(number))
        assert stream.received() is None
    stream.now += 5

    assert {"a": "99"} == stream.received()
