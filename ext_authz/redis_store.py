"""Buckets in Redis: what many requests want goes there in one call, and nobody waits for a Redis that is away.

A request is sent at once when nothing is under way; whatever comes while a call is out goes with the next one. So a
call carries one request when there is little to do and many when there is much, and no timer adds to anyone's latency.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Never

from ext_authz.limiter.charges import Charge, Verdict
from ext_authz.limiter.denied import DeniedBuckets
from ext_authz.limiter.fallback import Fallback
from ext_authz.limiter.parts import Part, Result, bucket_name, by_caller, part, results, single, verdict
from ext_authz.limiter.script import Flag
from ext_authz.redis_scripts import Scripts
from gateway_runtime.breaker import Breaker
from gateway_runtime.redis_client import StoreError, raise_if_cancelled
from gateway_runtime.telemetry import logger


@dataclass(frozen=True, slots=True)
class Tuning:
    """What an operator may have reason to change."""

    timeout_s: float = 0.05
    """Of one call; requests that wait longer are decided without Redis."""
    keys_per_call: int = 256
    """Redis does nothing else while it runs a script: about 0.3 ms for so many."""
    most_waiting: int = 8192
    """Requests; those beyond are decided without Redis."""
    probe_interval_s: float = 0.25
    """While Redis is away."""
    announce_interval_s: float = 2.0
    silence_s: int = 10
    """A replica that has not announced itself for so long does not count any more."""
    probe_timeout_s: float = 1.0
    local_keys: int = 100_000
    """Buckets of the time without Redis."""


class Waiting:
    """A request that waits for its verdict (see `charges.Pending`).

    A future and a task for each would cost more than the check.
    """

    __slots__ = ("_resume", "_verdict", "asked_us", "charges")

    def __init__(self, charges: Sequence[Charge], asked_us: int) -> None:
        self.charges = charges
        self.asked_us = asked_us
        self._resume: Callable[[Verdict], None] | None = None
        self._verdict: Verdict | None = None

    def then(self, resume: Callable[[Verdict], None]) -> None:
        if self._verdict is not None:
            resume(self._verdict)
        else:
            self._resume = resume

    def done(self) -> bool:
        return self._verdict is not None

    def set(self, verdict: Verdict) -> None:
        """The verdict; the first one counts."""
        if self._verdict is None:
            self._verdict = verdict
            if self._resume is not None:
                self._resume(verdict)

    def __await__(self) -> Generator[Any, None, Verdict]:
        future: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.then(lambda verdict: None if future.done() else future.set_result(verdict))  # the caller may have gone
        return future.__await__()


class RedisStore:
    """Never fails: what Redis does not answer is decided as each limit's `on_store_error` says."""

    def __init__(
        self,
        scripts: Scripts,
        *,
        prefix: str,
        name: str,
        share: int = 1,
        tuning: Tuning | None = None,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        """
        Args:
            prefix: of every key: limits of different gateways are different limits.
            name: of this replica, unlike any other's.
            share: the least number of replicas that there are.
        """
        self._scripts = scripts
        self._prefix = prefix
        self._name = name
        self._share = share
        self._tuning = tuning or Tuning()
        self._monotonic_ns = monotonic_ns
        self._log = logger("limiter")
        self._breaker = Breaker()
        self._denied = DeniedBuckets()
        self._fallback = Fallback(self._tuning.local_keys)
        self._waiting: deque[Waiting] = deque()
        self._refunds: deque[Part] = deque(maxlen=self._tuning.most_waiting)
        self._work = asyncio.Event()
        self._trouble = asyncio.Event()
        self._known_since_s = self._now_us() / 1e6
        self.replicas = share
        """How many were alive when Redis last told."""
        self.calls = 0
        self.checks = 0
        self.failures = 0
        self.call_seconds = 0.0

    @property
    def is_up(self) -> bool:
        return not self._breaker.is_open

    @property
    def denied(self) -> DeniedBuckets:
        return self._denied

    @property
    def fallback(self) -> Fallback:
        return self._fallback

    def charge(self, charges: Sequence[Charge], now_us: int) -> Verdict | Waiting:
        """Take the cost of every charge, or of none if a limit that is enforced refuses."""
        known = self._denied.verdict(charges, now_us)
        if known is not None:
            return known
        if self._breaker.is_open or len(self._waiting) >= self._tuning.most_waiting:
            return self._without_redis(charges, now_us)
        waiting = Waiting(charges, now_us)
        self._waiting.append(waiting)
        self._work.set()
        return waiting

    async def run(self) -> Never:
        """Carry requests to Redis until cancelled; the store works only meanwhile."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._watch(), name="redis watch")
                while True:
                    await self._work.wait()
                    self._work.clear()
                    while self._waiting or self._refunds:
                        refunds = self._some_refunds()
                        await self._send(self._batch(self._tuning.keys_per_call - len(refunds)), refunds)
                        raise_if_cancelled()
        finally:
            self._breaker.failed(for_certain=True)  # whoever still holds this store is answered without it
            self._fail_waiting()
            await self._scripts.close()

    def _some_refunds(self) -> list[Part]:
        most = min(len(self._refunds), self._tuning.keys_per_call // 2)
        return [self._refunds.popleft() for _ in range(most)]

    def _batch(self, room: int) -> list[Waiting]:
        """The next requests, of at most so many keys; one at least."""
        batch: list[Waiting] = []
        while self._waiting and (not batch or len(self._waiting[0].charges) <= room):
            waiting = self._waiting.popleft()
            room -= len(waiting.charges)
            batch.append(waiting)
        return batch

    async def _send(self, batch: list[Waiting], refunds: list[Part]) -> None:
        try:
            if self._scripts.is_split:
                whole = await self._ask_nodes(batch, refunds)
            else:
                whole = await self._ask_server(batch)
        except StoreError as error:
            self._fail(batch, error)
            return
        except BaseException:
            self._fail_all(batch)
            raise
        if whole:
            self._breaker.succeeded()
        elif self._breaker.failed(for_certain=False):
            self._log.warning("rate_limit_store_down", reason="some nodes do not answer")
            self._trouble.set()

    async def _ask_server(self, batch: list[Waiting]) -> bool:
        """One server decides about all of them, or about none; True."""
        [reply] = await self._called([part(self._prefix, *[waiting.charges for waiting in batch])])
        if reply is None:
            raise StoreError("no answer")
        self.checks += len(batch)
        outcomes = results(reply)
        start = 0
        for waiting in batch:
            end = start + len(waiting.charges)
            waiting.set(self._judged(waiting, outcomes[start:end]))
            start = end
        return True

    async def _ask_nodes(self, batch: list[Waiting], refunds: list[Part]) -> bool:
        """Each node decides about the limits that it has; whether all nodes answered."""
        groups = [by_caller(waiting.charges) for waiting in batch]
        replies = await self._called([*refunds, *(part(self._prefix, group) for split in groups for group in split)])
        answers = iter(replies[len(refunds) :])
        self.checks += len(batch)
        whole = True
        for waiting, split in zip(batch, groups, strict=True):
            outcomes = [next(answers) for _ in split]
            if None in outcomes:
                whole = False
                self._give_back(split, outcomes)
                waiting.set(self._without_redis(waiting.charges, self._now_us()))
            else:
                waiting.set(self._judged_apart(waiting, split, [results(reply) for reply in outcomes if reply]))
        return whole

    async def _called(self, parts: Sequence[Part]) -> list[bytes | None]:
        self.calls += 1
        started_ns = self._monotonic_ns()
        try:
            async with asyncio.timeout(self._tuning.timeout_s):
                return await self._scripts.charge(parts)
        except TimeoutError:
            raise StoreError("TimeoutError", is_slow=True) from None
        finally:
            self.call_seconds += (self._monotonic_ns() - started_ns) / 1e9

    def _judged(self, waiting: Waiting, outcomes: Sequence[Result]) -> Verdict:
        judged = verdict(waiting.charges, outcomes)
        if not judged.admitted:
            self._remember(waiting.charges, outcomes, waiting.asked_us)
        return judged

    def _judged_apart(
        self, waiting: Waiting, split: Sequence[Sequence[Charge]], outcomes: Sequence[list[Result]]
    ) -> Verdict:
        """The verdict of several nodes; what those took that admitted it goes back if another refuses."""
        charges = [charge for group in split for charge in group]
        flat = [outcome for each in outcomes for outcome in each]
        judged = verdict(charges, flat)
        if not judged.admitted:
            self._remember(charges, flat, waiting.asked_us)
            if len(split) > 1:
                self._refund(split, outcomes)
        return judged

    def _remember(self, charges: Sequence[Charge], outcomes: Sequence[Result], asked_us: int) -> None:
        """A caller who was refused is not asked for again until there can be another answer."""
        for charge, (used_us, wait_us) in zip(charges, outcomes, strict=True):
            if wait_us and not charge.limit.shadow and charge.quota.interval_us:
                self._denied.add(charge, int(used_us), asked_us)

    def _refund(self, split: Sequence[Sequence[Charge]], outcomes: Sequence[list[Result]]) -> None:
        """A request that another node's limit refused costs the others nothing: give it back."""
        for group, each in zip(split, outcomes, strict=True):
            taken = not any(wait and not charge.limit.shadow for charge, (_, wait) in zip(group, each, strict=True))
            for charge, (_, wait_us) in zip(group, each, strict=True):
                if taken and not wait_us:
                    key = bucket_name(self._prefix, charge.limit.name, charge.key)
                    amount_us = charge.limit.cost * charge.quota.interval_us
                    self._refunds.append(single(key, Flag.REFUND, amount_us, charge.quota.capacity_us))
        if self._refunds:
            self._work.set()

    def _give_back(self, split: Sequence[Sequence[Charge]], replies: Sequence[bytes | None]) -> None:
        """Some nodes answered and some did not: the request is decided here, so what those took goes back."""
        answered = [(group, results(reply)) for group, reply in zip(split, replies, strict=True) if reply is not None]
        self._refund([group for group, _ in answered], [outcome for _, outcome in answered])

    def _fail(self, batch: list[Waiting], error: StoreError) -> None:
        """Whoever waits is answered now, also those behind: nobody waits for two calls that fail."""
        self.failures += 1
        if self._breaker.failed(for_certain=not error.is_slow):
            self._log.warning("rate_limit_store_down", reason=str(error), replicas=self.replicas)
            self._trouble.set()
        self._fail_all(batch)
        self._fail_waiting()
        if self._fallback.debts:
            self._trouble.set()

    def _fail_waiting(self) -> None:
        self._fail_all(self._waiting)
        self._waiting.clear()

    def _fail_all(self, batch: Sequence[Waiting]) -> None:
        for waiting in batch:
            waiting.set(self._without_redis(waiting.charges, self._now_us()))

    def _without_redis(self, charges: Sequence[Charge], now_us: int) -> Verdict:
        judged = self._fallback.charge(charges, now_us, max(self.replicas, self._share))
        if not self._breaker.is_open:
            self._trouble.set()
        return judged

    async def _watch(self) -> Never:
        """Announce this replica, and bring Redis back into use once it answers again."""
        while True:
            wait_s = self._tuning.probe_interval_s if self._breaker.is_open else self._tuning.announce_interval_s
            try:
                async with asyncio.timeout(wait_s):
                    await self._trouble.wait()
            except TimeoutError:
                pass
            self._trouble.clear()
            try:
                await self._announce()
                await self._pay_debts()
            except StoreError as error:
                if self._breaker.failed(for_certain=not error.is_slow):
                    self._log.warning("rate_limit_store_down", reason=str(error), replicas=self.replicas)
                raise_if_cancelled()
                await self._rest()
                continue
            raise_if_cancelled()
            if self._breaker.is_open:
                self._breaker.close()
                self._log.info("rate_limit_store_up", replicas=self.replicas)

    async def _rest(self) -> None:
        """A server that became a replica, or went away, is left: the next connection is to the one in its place."""
        try:
            async with asyncio.timeout(self._tuning.probe_timeout_s):
                await self._scripts.disconnect()
        except (TimeoutError, OSError):
            pass
        await asyncio.sleep(self._tuning.probe_interval_s)

    async def _announce(self) -> None:
        key = f"{self._prefix}{{replicas}}".encode()
        try:
            async with asyncio.timeout(self._tuning.probe_timeout_s):
                alive = await self._scripts.announce(key, self._name, self._tuning.silence_s)
        except TimeoutError:
            raise StoreError("TimeoutError", is_slow=True) from None
        now_s = self._now_us() / 1e6
        if self._breaker.is_open:
            self._known_since_s = now_s
        if alive >= self.replicas or now_s - self._known_since_s > self._tuning.silence_s:
            self.replicas = max(alive, 1)  # fewer only when all have had the time to announce themselves again

    async def _pay_debts(self) -> None:
        """What was admitted without Redis is taken from its buckets before it is asked again."""
        while self._fallback.debts:
            now_us = self._now_us()
            debts = self._fallback.take_debts(self._tuning.keys_per_call, now_us)
            parts = [
                single(bucket_name(self._prefix, *name), Flag.DEBIT, debt.owed_us(now_us), debt.quota.capacity_us)
                for name, debt in debts.items()
            ]
            try:
                replies = await self._called(parts) if parts else []
            except BaseException:
                self._fallback.put_back(debts, now_us)
                raise
            unpaid = [name for name, reply in zip(debts, replies, strict=True) if reply is None]
            if unpaid:
                self._fallback.put_back({name: debts[name] for name in unpaid}, now_us)
                raise StoreError("some nodes do not answer")

    def _now_us(self) -> int:
        return self._monotonic_ns() // 1000
