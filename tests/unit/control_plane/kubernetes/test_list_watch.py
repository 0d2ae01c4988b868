"""The list/watch state machine: what it asks next after everything that can happen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.kubernetes.list_watch import (
    PAGE_SIZE,
    STABLE_S,
    Bookmark,
    Changed,
    Failure,
    Gone,
    Item,
    Listed,
    ListPage,
    ListWatch,
    Page,
    Put,
    Watch,
)

UNAVAILABLE = Failure(503, "unavailable")
EXPIRED = Failure(410, "too old resource version", "Expired")
FIRST_PAGE = ListPage("", PAGE_SIZE)


def machine(random: float = 0.0) -> ListWatch[str]:
    return ListWatch(lambda: random)


def watching(version: str = "7") -> ListWatch[str]:
    started = machine()
    started.on_page(Page((Item("a", "A"),), version))
    started.on_watching()
    return started


def test_it_begins_with_the_first_page() -> None:
    """At once, and without a version: the list shall be up to date, not what a cache remembers."""
    assert FIRST_PAGE == machine().step()
    assert 0 == machine().delay_s


def test_pages_are_followed_to_the_last_one() -> None:
    """Nothing is published before the list is complete; then everything at once."""
    listing = machine()

    assert listing.on_page(Page((Item("a", "A"),), "7", "token")) is None
    assert ListPage("token", PAGE_SIZE) == listing.step()
    assert not listing.synced
    assert Listed({"a": "A", "b": "B"}) == listing.on_page(Page((Item("b", "B"),), "7"))
    assert listing.synced


def test_objects_without_meaning_are_not_listed() -> None:
    """A slice of no Service is not there."""
    assert Listed({}) == machine().on_page(Page((Item("a", None),), "7"))


def test_a_watch_starts_at_the_version_of_the_list() -> None:
    """Its timeout is jittered, so that watches do not end together."""
    assert Watch("7", 240) == watching().step()
    late = machine(0.5)
    late.on_page(Page((), "7"))
    assert Watch("7", 360) == late.step()


def test_every_event_moves_the_version() -> None:
    """Puts, deletions and bookmarks: the next watch goes on behind them."""
    busy = watching()

    assert Changed("b", "B") == busy.on_event(Put(Item("b", "B", "8")))
    assert Watch("8", 240) == busy.step()
    assert Changed("b", None) == busy.on_event(Gone("b", "9"))
    assert Watch("9", 240) == busy.step()
    assert busy.on_event(Bookmark("42")) is None
    assert Watch("42", 240) == busy.step()


def test_a_watch_that_ends_goes_on_where_it_was() -> None:
    """No list is needed, and no waiting."""
    ended = watching()
    ended.on_event(Bookmark("8"))
    ended.on_closed(240)

    assert (Watch("8", 240), 0) == (ended.step(), ended.delay_s)


def test_watches_that_end_at_once_are_not_asked_in_a_hot_loop() -> None:
    """A server that accepts watches and closes them is asked less and less often."""
    flapping = watching()
    delays = []
    for _ in range(4):
        flapping.on_closed(0.01)
        delays.append(flapping.delay_s)

    assert [0.25, 0.5, 1.0, 2.0] == delays
    flapping.on_closed(STABLE_S)
    assert 0 == flapping.delay_s


def test_an_expired_version_leads_to_a_list_at_once() -> None:
    """410 as an ERROR event or as the answer; the list replaces what was known."""
    gone = watching()
    gone.on_event(EXPIRED)

    assert (FIRST_PAGE, 0) == (gone.step(), gone.delay_s)
    assert gone.synced
    assert Listed({"b": "B"}) == gone.on_page(Page((Item("b", "B"),), "20"))
    assert Watch("20", 240) == gone.step()


def test_versions_that_expire_again_and_again_are_asked_for_with_back_off() -> None:
    """A list whose watch expires at once must not load the server without pause."""
    looping = watching()
    looping.on_event(EXPIRED)
    looping.on_page(Page((), "20"))
    looping.on_event(EXPIRED)

    assert looping.delay_s > 0


def test_a_list_whose_pages_expire_is_asked_for_whole() -> None:
    """Else a slow reader would never come to its end; objects of the broken list do not count."""
    slow = machine()
    slow.on_page(Page((Item("old", "OLD"),), "7", "token"))
    slow.on_failure(EXPIRED)

    assert ListPage("", 0) == slow.step()
    assert Listed({"a": "A"}) == slow.on_page(Page((Item("a", "A"),), "9"))


def test_a_version_from_the_future_leads_to_a_list() -> None:
    """After a cluster was restored from a backup the known version may never come."""
    restored = watching()
    restored.on_failure(Failure(504, "Too large resource version: 7, current: 3", "Timeout"))

    assert FIRST_PAGE == restored.step()


def test_a_refused_watch_leads_to_a_list() -> None:
    """400: the version is not one of this server."""
    odd = watching()
    odd.on_failure(Failure(400, "invalid resource version"))

    assert FIRST_PAGE == odd.step()


def test_failures_back_off_to_a_limit() -> None:
    """Twice as long each time, at most 30 s, between half and all of it at random."""
    failing = machine(0.0)
    delays = []
    for _ in range(9):
        failing.on_failure(UNAVAILABLE)
        delays.append(failing.delay_s)
    assert [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0] == delays

    most = machine(0.999)
    for _ in range(9):
        most.on_failure(UNAVAILABLE)
    assert most.delay_s == pytest.approx(30, abs=0.1)


def test_the_server_may_ask_for_more_time() -> None:
    """Retry-After of a 429 counts when it is longer than the back-off."""
    throttled = machine()
    throttled.on_failure(Failure(429, "too many requests", retry_after_s=12))

    assert 12 == throttled.delay_s


def test_a_failure_keeps_the_place() -> None:
    """After an outage the same page or the same version is asked for again."""
    listing = machine()
    listing.on_page(Page((Item("a", "A"),), "7", "token"))
    listing.on_failure(UNAVAILABLE)
    assert ListPage("token", PAGE_SIZE) == listing.step()

    broken = watching()
    broken.on_failure(Failure(0, "connection reset"))
    assert Watch("7", 240) == broken.step()


def test_silence_leads_to_a_list_at_once() -> None:
    """A half-open connection, or a cluster that was restored and has not reached the watched version."""
    silent = watching()
    silent.on_silence()

    assert (FIRST_PAGE, 0) == (silent.step(), silent.delay_s)
    assert silent.synced


@pytest.mark.parametrize("event", [Put(Item("b", "B", "6")), Gone("a", "6"), Bookmark("6")])
def test_versions_that_go_back_lead_to_a_list(event: Put[str] | Gone | Bookmark) -> None:
    """The cluster was restored from a backup: what is known is of another history."""
    restored = watching()

    assert restored.on_event(event) is None
    assert restored.failure is not None
    assert (FIRST_PAGE, 0) == (restored.step(), restored.delay_s)


def test_a_failure_shows_until_the_server_accepts_a_watch() -> None:
    """A list that works is not enough: without a watch the state goes stale."""
    failing = machine()
    failing.on_failure(UNAVAILABLE)
    assert UNAVAILABLE == failing.failure
    failing.on_page(Page((), "7"))
    assert UNAVAILABLE == failing.failure
    failing.on_watching()
    assert failing.failure is None


def test_an_event_ends_the_back_off() -> None:
    """The next failure starts from the shortest delay again."""
    failing = watching()
    for _ in range(5):
        failing.on_failure(UNAVAILABLE)
    failing.on_event(Bookmark("8"))
    failing.on_failure(UNAVAILABLE)

    assert 0.25 == failing.delay_s


def test_nobody_waits_for_what_rbac_forbids() -> None:
    """A forbidden namespace is answered, not synced; the others go on without it."""
    forbidden = machine()
    assert not forbidden.answered
    forbidden.on_failure(UNAVAILABLE)
    assert not forbidden.answered
    forbidden.on_failure(Failure(403, "services is forbidden", "Forbidden"))
    assert forbidden.answered
    assert not forbidden.synced


happenings = st.lists(
    st.one_of(
        st.builds(lambda token: ("page", token), st.sampled_from(["", "token"])),
        st.builds(lambda status: ("failure", status), st.sampled_from([0, 400, 403, 410, 429, 500, 504])),
        st.builds(lambda lasted: ("closed", lasted), st.floats(0, 600)),
        st.just(("silence", 0)),
        st.just(("event", 0)),
    )
)


@given(happenings)
def test_whatever_happens_the_delay_is_bounded_and_the_next_step_fits(done: list[tuple[str, object]]) -> None:
    """Never longer than 30 s without Retry-After, never negative; a watch only after a complete list."""
    random = ListWatch[str](lambda: 0.5)
    for kind, value in done:
        if kind == "page" and isinstance(random.step(), ListPage):
            random.on_page(Page((Item("a", "A"),), "7", str(value)))
        elif kind == "failure":
            random.on_failure(Failure(int(str(value)), "failed"))
        elif isinstance(random.step(), Watch):
            if kind == "closed":
                random.on_closed(float(str(value)))
            elif kind == "silence":
                random.on_silence()
            else:
                random.on_event(Bookmark("8"))

        assert 0 <= random.delay_s <= 30
        assert random.synced or isinstance(random.step(), ListPage)
