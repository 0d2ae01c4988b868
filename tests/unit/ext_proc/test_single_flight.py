"""No interleaving loses a waiter, and only one request of a key leads."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from ext_proc.cache.single_flight import Flights, State, Ticket

NOW = 100.0


def test_the_first_leads_and_the_others_wait() -> None:
    """Keys do not wait for one another."""
    flights = Flights()

    assert [State.LEADING, State.WAITING, State.WAITING] == [flights.join("a", NOW).state for _ in range(3)]
    assert State.LEADING is flights.join("b", NOW).state


def test_a_lost_leader_is_followed_by_exactly_one() -> None:
    """The others go on waiting, for the new one."""
    flights = Flights()
    leader, first, second = (flights.join("a", NOW) for _ in range(3))
    woken: list[Ticket] = []
    for ticket in (first, second):
        ticket.wake = lambda ticket=ticket: woken.append(ticket)

    leader.leave()

    assert [first] == woken
    assert (State.LEADING, State.WAITING) == (first.state, second.state)


def test_a_follower_that_left_before_it_noticed_that_it_leads_hands_on() -> None:
    """Its client went away while the news was on the way."""
    flights = Flights()
    leader, first, second = (flights.join("a", NOW) for _ in range(3))
    leader.leave()
    first.leave()

    assert State.LEADING is second.state


def test_an_uncacheable_response_releases_all_and_is_remembered() -> None:
    """Hit-for-miss: the next burst is not serialised."""
    flights = Flights()
    leader, follower = flights.join("a", NOW), flights.join("a", NOW)

    leader.declined(NOW + 60)

    assert State.GO is follower.state
    assert State.GO is flights.join("a", NOW + 59).state
    assert State.LEADING is flights.join("a", NOW + 60).state


def test_marks_are_bounded_and_expire() -> None:
    """A flood of uncacheable keys cannot fill the memory."""
    flights = Flights(max_uncacheable=2)
    for key in "abc":
        flights.join(key, NOW).declined(NOW + 60)

    assert State.LEADING is flights.join("a", NOW).state
    assert State.GO is flights.join("c", NOW).state
    flights.expire(NOW + 61)
    assert State.LEADING is flights.join("b", NOW).state


class Interleavings(RuleBasedStateMachine):
    """Requests of two keys join, store, decline, give up and take over in any order."""

    tickets: Bundle[Ticket] = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.flights = Flights()
        self.now = NOW
        self.all: list[Ticket] = []
        self.woken: dict[Ticket, int] = {}

    @rule(target=tickets, key=st.sampled_from("ab"))
    def join(self, key: str) -> Ticket:
        ticket = self.flights.join(key, self.now)
        self.all.append(ticket)
        self.woken[ticket] = 0
        waits = ticket.state is State.WAITING

        def wake() -> None:
            assert waits, "only a waiting ticket is woken"
            self.woken[ticket] += 1

        ticket.wake = wake
        return ticket

    @rule(ticket=tickets)
    def stored(self, ticket: Ticket) -> None:
        ticket.stored()

    @rule(ticket=tickets, seconds=st.integers(0, 5))
    def declined(self, ticket: Ticket, seconds: int) -> None:
        ticket.declined(self.now + seconds)

    @rule(ticket=tickets)
    def leave(self, ticket: Ticket) -> None:
        ticket.leave()

    @precondition(lambda self: self.now < NOW + 50)
    @rule()
    def pass_time(self) -> None:
        self.now += 1

    @invariant()
    def at_most_one_leads_a_key_and_nobody_waits_without_a_leader(self) -> None:
        for key in "ab":
            states = [ticket.state for ticket in self.all if ticket.key == key]
            leading = states.count(State.LEADING)
            assert leading <= 1
            assert leading == 1 or State.WAITING not in states
            assert self.flights.is_flying(key) == (leading == 1)

    @invariant()
    def nobody_is_woken_twice(self) -> None:
        assert all(count <= 1 for count in self.woken.values())

    def teardown(self) -> None:
        for ticket in self.all:
            ticket.leave()
        assert 0 == len(self.flights)
        assert all(ticket.state is not State.WAITING for ticket in self.all)


TestInterleavings = Interleavings.TestCase
TestInterleavings.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
