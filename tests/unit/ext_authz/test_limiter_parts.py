"""The pure parts around a shared store: known refusals, what holds without it, debts, descriptors, entries."""

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ext_authz.identity import identity
from ext_authz.limiter.charges import Charge
from ext_authz.limiter.denied import DeniedBuckets
from ext_authz.limiter.descriptors import Descriptor, UnknownLimitError, charges
from ext_authz.limiter.fallback import Fallback
from ext_authz.limiter.keys import charge as charge_of_request
from ext_authz.limiter.parts import bucket_name, by_caller, part, results, verdict
from ext_authz.limiter.script import ENTRY, RESULT, Flag
from ext_authz.request import parse
from gateway_runtime.breaker import Breaker
from policy.quotas import Limit, limit, quota
from protos.gateway.policy.v1 import authz_pb2
from tests.unit.ext_authz.fixtures import check_request, rate_limit

S = 1_000_000
START_US = 1_000_000_000


def charge(count: int, per_s: float, *, key: str = "k", on_store_error: int = 0, **options: object) -> Charge:
    message = rate_limit(count=count, per_s=per_s, **options)  # type: ignore[arg-type]
    message.on_store_error = on_store_error  # type: ignore[assignment]
    compiled = limit(message)
    return Charge(compiled, compiled.quota, key)


@given(used_us=st.integers(0, 60 * S), later_us=st.integers(0, 120 * S), cost=st.integers(1, 10))
def test_a_known_refusal_is_what_the_store_would_say(used_us: int, later_us: int, cost: int) -> None:
    """It refuses exactly as long as a bucket that nobody touches does, whatever the next request costs."""
    denied, each = DeniedBuckets(), charge(60, 60, burst=10, cost=cost)
    denied.add(each, used_us, START_US)
    known = denied.verdict([each], START_US + later_us)
    wait_us = used_us - later_us + cost * S - 10 * S

    assert (known is not None) is (wait_us > 0)
    if known is not None and known.standing is not None:
        assert (False, wait_us) == (known.admitted, known.standing.retry_after_us)


def test_a_known_refusal_ends_with_an_edit() -> None:
    """Another rate or burst is asked anew; a shadow limit is never known to refuse."""
    denied = DeniedBuckets()
    denied.add(charge(1, 60), 60 * S, START_US)

    assert denied.verdict([charge(1, 60)], START_US) is not None
    assert denied.verdict([charge(1, 60, shadow=True)], START_US) is None
    assert denied.verdict([charge(2, 60)], START_US) is None
    assert denied.verdict([charge(1, 60, key="other")], START_US) is None


def test_known_refusals_are_bounded() -> None:
    """A flood of refused keys pushes out old ones, never the newest."""
    denied = DeniedBuckets(capacity=100)
    for number in range(1000):
        denied.add(charge(1, 60, key=f"k{number}"), 60 * S, START_US)

    assert len(denied) <= 100
    assert denied.verdict([charge(1, 60, key="k999")], START_US) is not None
    assert denied.verdict([charge(1, 60, key="k0")], START_US) is None


def test_debts_are_what_was_admitted() -> None:
    """Half of a limit, charged three times, is owed three times in the store's terms; it fades as the share refills."""
    fallback, each = Fallback(10), charge(60, 60)
    admitted = [fallback.charge([each], START_US, 2).admitted for _ in range(3)]
    ((name, debt),) = fallback.take_debts(10, START_US).items()

    assert [True] * 3 == admitted
    assert ("limit", "k") == name
    assert 3 * S == debt.owed_us(START_US)
    assert 2 * S == debt.owed_us(START_US + 2 * S)
    assert 0 == fallback.debts


def test_debts_that_could_not_be_paid_are_kept() -> None:
    """What is admitted while they are out is owed on top; what faded is forgotten."""
    fallback, each = Fallback(10), charge(60, 60)
    fallback.charge([each], START_US, 1)
    out = fallback.take_debts(10, START_US)
    fallback.charge([each], START_US, 1)
    fallback.put_back(out, START_US)
    (debt,) = fallback.take_debts(10, START_US).values()
    fallback.put_back({("limit", "k"): debt}, START_US)

    assert 2 * S == debt.owed_us(START_US)
    assert {} == fallback.take_debts(10, START_US + 3 * S)


def test_debts_are_bounded() -> None:
    """A flood of callers during an outage costs no more memory than was set aside."""
    fallback = Fallback(10)
    for number in range(100):
        fallback.charge([charge(60, 60, key=f"k{number}")], START_US, 1)

    assert 10 == fallback.debts


@pytest.mark.parametrize(
    ("modes", "expected"),
    [
        ([authz_pb2.RateLimit.ALLOW], (True, False)),
        ([authz_pb2.RateLimit.DENY], (False, True)),
        ([authz_pb2.RateLimit.LOCAL, authz_pb2.RateLimit.DENY], (False, True)),
        ([authz_pb2.RateLimit.ALLOW, authz_pb2.RateLimit.LOCAL], (True, False)),
    ],
)
def test_without_the_store(modes: list[int], expected: tuple[bool, bool]) -> None:
    """One limit that denies then is enough; one that allows is not looked at."""
    limits = [charge(5, 60, name=f"l{index}", on_store_error=mode) for index, mode in enumerate(modes)]
    judged = Fallback(10).charge(limits, START_US, 1)

    assert expected == (judged.admitted, judged.unavailable)


def test_a_share_is_no_more_than_its_part() -> None:
    """Three replicas admit a third each, rounded down, but never less than one request's cost."""
    whole = quota(10, 60 * S)

    assert (18 * S, 3) == (whole.share(3, 1).interval_us, whole.share(3, 1).burst)
    assert 5 == whole.share(20, 5).burst
    assert whole == whole.share(1, 1)
    assert 0 == quota(0, S).share(3, 1).interval_us


def test_the_breaker() -> None:
    """Slow answers in a row open it, one that cannot be reached at once; an answer in between counts anew."""
    breaker = Breaker(failures=2)
    opened = [breaker.failed(for_certain=False)]
    breaker.succeeded()
    opened += [breaker.failed(for_certain=False), breaker.failed(for_certain=False), breaker.failed(for_certain=True)]
    breaker.close()
    opened.append(breaker.failed(for_certain=True))

    assert [False, False, True, False, True] == opened
    assert (True, 2) == (breaker.is_open, breaker.opened)


def test_requests_of_one_call() -> None:
    """What several requests ask is what each of them asks, one after the other."""
    one, other = charge(60, 60, name="one"), charge(5, 60, name="other", cost=2)
    requests = [[one], [one, other], [other]]
    alone = [part("p:", each) for each in requests]
    together = part("p:", *requests)

    assert tuple(key for each in alone for key in each.keys) == together.keys
    assert b"".join(each.entries for each in alone) == together.entries


def test_entries() -> None:
    """A request's last entry ends it, shadow limits say so, and numbers beyond a double's are cut."""
    large = charge(1, 86400, burst=2**63, name="large", shadow=True)
    made = part("p:", [charge(60, 60, burst=5, cost=2), large])

    assert (b"p:{k}limit", b"p:{k}large") == made.keys
    assert [(0, 2 * S, 5 * S), (Flag.LAST | Flag.SHADOW, 86400 * S, 2**52)] == list(ENTRY.iter_unpack(made.entries))


def test_results() -> None:
    """The verdict on one request tells the tightest limit, or the longest wait."""
    one, other = charge(10, 10, name="one"), charge(5, 5, name="other")
    passed = verdict([one, other], results(RESULT.pack(3 * S, 0) + RESULT.pack(4 * S, 0)))
    refused = verdict([one, other], results(RESULT.pack(10 * S, S) + RESULT.pack(4 * S, 0)))

    assert passed.standing is not None
    assert refused.standing is not None
    assert (True, "other", 1) == (passed.admitted, passed.standing.limit.name, passed.standing.remaining)
    assert (False, "one", S) == (refused.admitted, refused.standing.limit.name, refused.standing.retry_after_us)


@given(st.text(max_size=20))
def test_bucket_names(key: str) -> None:
    """Any key, lone surrogates included, is a name; only the same key and limit make the same one."""
    assert bucket_name("p:", "a", key) != bucket_name("p:", "a", key + "x")
    assert bucket_name("p:", "a", key) != bucket_name("p:", "b", key)


def test_charges_of_one_caller_stay_together() -> None:
    """They share a slot of a cluster, so one node decides about them together."""
    first, second, third = charge(1, 1, name="a"), charge(1, 1, name="b", key="other"), charge(1, 1, name="c")

    assert [[first, third], [second]] == by_caller([first, second, third])


def compiled(name: str, **options: object) -> Mapping[str, Limit]:
    return {name: limit(rate_limit(name, 10, 60, **options))}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("key", "entries"),
    [
        ([{"client_ip": True}], {"client_ip": "2001:db8::7"}),
        ([{"client_ip": True}], {"remote_address": "2001:db8::7"}),
        ([{"user": True}], {"user": "jwt.main:alice"}),
        ([{"api_key": True}], {"api_key": "acme"}),
        ([{"header": "x-tenant"}], {"header:x-tenant": "blue"}),
        ([{"header": "x-none"}], {"client_ip": "2001:db8::7"}),
        ([{"route": True}, {"claim": "org.id"}], {"route": "users", "claim:org.id": "7"}),
        ([], {}),
    ],
)
def test_descriptors_mean_the_buckets_of_ext_authz(key: list[Mapping[str, object]], entries: dict[str, str]) -> None:
    """Each kind of key, said by another filter, is the bucket that a checked request is charged to."""
    limits = compiled("few", key=key)
    request = parse(check_request({"x-tenant": "blue"}, client_ip="2001:db8::7"))
    proven = identity("jwt.main", {"org": {"id": "7"}}, (), user="alice", api_key=None)
    if entries.get("api_key"):
        proven = identity("api_keys.partners", {}, (), api_key="acme")
    (said,) = charges([Descriptor({"limit": "few", **entries}, 1)], limits)

    assert said is not None
    assert charge_of_request(limits["few"], request, proven) == said


def test_descriptors_with_hits() -> None:
    """Hits multiply the cost; none asks for nothing; the same bucket twice in one request is charged once."""
    limits = compiled("few", cost=2)
    entries = {"limit": "few", "client_ip": "192.0.2.1"}
    first, nothing, again = charges([Descriptor(entries, 3), Descriptor(entries, 0), Descriptor(entries, 1)], limits)

    assert first is not None
    assert (6, None, None) == (first.limit.cost, nothing, again)


def test_descriptors_choose_a_rate_by_attribute() -> None:
    """A gold caller has the gold rate and a bucket of its own."""
    limits = compiled("few", by_attribute="tier", by_value={"gold": (100, 60)})
    (gold,) = charges([Descriptor({"limit": "few", "attribute:tier": "gold"}, 1)], limits)
    (plain,) = charges([Descriptor({"limit": "few", "attribute:tier": "tin"}, 1)], limits)

    assert gold is not None
    assert plain is not None
    assert (100, 10) == (gold.quota.burst, plain.quota.burst)
    assert gold.key != plain.key


@pytest.mark.parametrize("entries", [{}, {"limit": ""}, {"limit": "fwe"}, {"client_ip": "192.0.2.1"}])
def test_descriptors_without_a_known_limit(entries: dict[str, str]) -> None:
    """A misspelt name is an error and never an unlimited caller."""
    with pytest.raises(UnknownLimitError):
        charges([Descriptor(entries, 1)], compiled("few"))


def test_paid_off_debts_are_not_sent() -> None:
    """A bucket that has refilled in its share owes nothing."""
    fallback: Fallback = Fallback(10)
    clock: Callable[[int], int] = lambda seconds: START_US + seconds * S  # noqa: E731
    fallback.charge([charge(60, 60)], clock(0), 1)

    assert {} == fallback.take_debts(10, clock(2))
