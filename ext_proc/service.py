"""envoy.service.ext_proc.v3.ExternalProcessor over bytes: read, ask the exchange, write; the only place that waits.

A stream is ended by us as soon as nothing more is to be said: each message more, and each stream that stays open as
long as the upstream call, costs more CPU than all decisions together.
"""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from functools import partial
from typing import Protocol

import grpc

from ext_proc import messages
from ext_proc.cache.cache import Cache
from ext_proc.events import Action, Refuse, RequestStart, Serve, Wait, Work, Worked
from ext_proc.exchange import Exchange, Route, route_of
from ext_proc.metrics import Metrics, RouteMetrics
from ext_proc.policies import PolicyStore
from ext_proc.sinks import POLICY_TYPE
from ext_proc.streamed import is_streamed, pieces
from gateway_runtime.http2.connection import Open
from gateway_runtime.http2.methods import Stream, Streaming
from gateway_runtime.telemetry import logger
from gateway_runtime.tracing import Tracing
from policy.processing import Processing

SERVICE = "envoy.service.ext_proc.v3.ExternalProcessor"
_PROCESS = f"{SERVICE}/Process"
POLICY_METADATA = "x-gateway-policy"
ROUTE_METADATA = "x-gateway-route"
POLICY_WAIT_S = 0.3
"""How long a request may wait for a policy that xDS has not brought yet."""
UNEXTENDED_S = 0.5
"""Waits that are certain to be shorter need no more of Envoy's patience than it has anyway."""
EXTENSION_SLACK_S = 0.5
"""Envoy's timer runs this much longer than ours, so that ours decides."""
WORK_S = 20.0
"""How long a large body may take, with those before it."""
WORKERS = 2
"""Threads for large bodies, which take turns with everything else; one that takes long does not hold up the others."""


class PolicySource(Protocol):
    """What can bring a policy by name (gateway_runtime.xds_client.XdsClient)."""

    async def request(self, type_url: str, name: str) -> None: ...


class ExternalProcessor:
    """Answers Process streams. What it cannot do ends the stream with an error: the route's failure mode decides."""

    def __init__(
        self,
        *,
        policies: PolicyStore,
        source: PolicySource,
        cache: Cache,
        metrics: Metrics,
        tracing: Tracing | None = None,
        workers: Executor | None = None,
        unix_s: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            tracing: None: no spans.
            workers: where large bodies are worked on; None: in WORKERS threads of its own.
        """
        self._policies = policies
        self._source = source
        self._cache = cache
        self._metrics = metrics
        self._tracing = tracing or Tracing("ext_proc")
        self._workers = workers or ThreadPoolExecutor(WORKERS, "body")
        self._unix_s = unix_s
        self._routes: dict[tuple[str, str], Route] = {}
        """By policy and route name; a policy is immutable, so what is made of it stays right."""
        self._log = logger("ext_proc")

    def methods(self) -> Mapping[str, Open]:
        """For `Http2Server`; messages stay bytes on both sides."""
        return {f"/{_PROCESS}": partial(Streaming, self.process)}

    async def process(self, context: Stream) -> None:
        """One HTTP exchange."""
        span = self._tracing.of_call(_PROCESS, context) if self._tracing.is_on else None
        if span is None:
            await self._process(context, None)
            return
        policy, route = _names(context)
        attributes = {"gateway.policy": policy, "gateway.route": route}
        try:
            await self._process(context, span.identity.trace_id)
        except Exception:
            span.end(attributes, "the exchange failed")
            raise
        except asyncio.CancelledError:
            span.end({**attributes, "gateway.cancelled": True})
            raise
        span.end(attributes)

    async def _process(self, context: Stream, trace_id: str | None) -> None:
        names = _names(context)
        route = self._routes.get(names) or await self._found(names)
        if route is None:
            self._metrics.unknown_policies.inc()
            context.abort(grpc.StatusCode.UNAVAILABLE, "the route's policy is unknown here")
            return
        counts = self._metrics.route(route.name)
        exchange = Exchange(route, self._cache, counts)
        try:
            await self._converse(exchange, context, counts, trace_id, with_identity=route.needs_identity)
        except messages.MalformedError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except Exception:
            self._log.exception("exchange_failed", route=route.name)
            self._metrics.errors.inc()
            # Nothing of the exception: Envoy writes the details of a failed stream into its access log.
            context.abort(grpc.StatusCode.INTERNAL, "the exchange failed")
        finally:
            exchange.close()

    async def _converse(
        self,
        exchange: Exchange,
        context: Stream,
        counts: RouteMetrics,
        trace_id: str | None,
        *,
        with_identity: bool,
    ) -> None:
        """Until the last word, or until Envoy ends the stream; read and write cost less than generators do."""
        while (message := await context.read()) is not None:
            event = messages.read(message, with_identity=with_identity)
            began = time.perf_counter() if exchange.awaits_body else None
            action = exchange.on(event, self._unix_s())
            if began is not None:
                counts.transform_seconds += time.perf_counter() - began
            if type(action) is Wait:
                action = await self._waited(exchange, action, context, trace_id)
            elif type(action) is Work:
                action = await self._worked(exchange, action, context, counts)
            if action.last:
                if type(action) is Serve and type(event) is RequestStart and is_streamed(action):
                    for piece in pieces(action):
                        await context.write(piece)
                    return
                if type(action) is Refuse and action.problems and action.status >= 500:
                    self._log.warning("response_refused", problems=[f"{p.at}: {p.text}" for p in action.problems[:10]])
                context.close(messages.write(action))
                return
            await context.write(messages.write(action))

    async def _waited(self, exchange: Exchange, wait: Wait, context: Stream, trace_id: str | None) -> Action:
        """What the exchange does once what it waits for is there, or was given up.

        Envoy is asked once to be patient, and only if it may take long: it takes one extension for each answer.
        """
        action: Action = wait
        started = self._unix_s()
        is_extended = False
        while type(action) is Wait:
            if action.awaited.is_waiting:
                if not is_extended and action.at_most_s > UNEXTENDED_S:
                    is_extended = True
                    await context.write(messages.extension(action.at_most_s + EXTENSION_SLACK_S))
                await _woken(action)
            action = exchange.resume(self._unix_s())
        if is_extended:
            self._metrics.waits.observe(
                max(0.0, self._unix_s() - started), {"trace_id": trace_id} if trace_id else None
            )
        return action

    async def _worked(self, exchange: Exchange, work: Work, context: Stream, counts: RouteMetrics) -> Action:
        """What the exchange does with a large body. Whose client has gone is not begun, or nobody hears of it."""
        await context.write(messages.extension(WORK_S))
        result, took_s = await asyncio.get_running_loop().run_in_executor(self._workers, _timed, work)
        counts.transform_seconds += took_s
        return exchange.worked(result, self._unix_s())

    def forget_routes(self) -> None:
        """Let go of routes whose policies are gone."""
        self._routes = {names: route for names, route in self._routes.items() if self._policies.get(names[0])}

    async def _found(self, names: tuple[str, str]) -> Route | None:
        policy, name = names
        processing = self._policies.get(policy) or await self._awaited(policy)
        if processing is None:
            return None
        route = self._routes[names] = route_of(processing, name)
        return route

    async def _awaited(self, name: str) -> Processing | None:
        """A policy that this process has not met yet: another replica of the control plane was faster."""
        if not name:
            return None
        try:
            async with asyncio.timeout(POLICY_WAIT_S):
                await self._source.request(POLICY_TYPE, name)
        except TimeoutError:
            self._log.warning("policy_unknown", policy=name)
        return self._policies.get(name)


def _timed(work: Work) -> tuple[Worked, float]:
    """What the work came to, and how many seconds it took."""
    began = time.perf_counter()
    return work.run(), time.perf_counter() - began


async def _woken(wait: Wait) -> None:
    """Return when what is awaited is there, or its time is up."""
    awaited = wait.awaited
    woken = asyncio.Event()
    awaited.wake = woken.set
    if not awaited.is_waiting:
        return
    try:
        async with asyncio.timeout(wait.at_most_s):
            await woken.wait()
    except TimeoutError:
        return


def _names(context: Stream) -> tuple[str, str]:
    """Policy and route, which Envoy takes from its route's configuration; no client can set them."""
    policy = route = ""
    for name, value in context.invocation_metadata() or ():
        if name == POLICY_METADATA:
            policy = str(value)
        elif name == ROUTE_METADATA:
            route = str(value)
    return policy, route
