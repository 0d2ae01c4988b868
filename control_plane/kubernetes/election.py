"""Which replica writes to the cluster: leader election on a Lease, by the official client. All replicas serve.

The client's own LeaseLock cannot create a Lease in 37.0.2 (it passes `pretty=True` where its API takes a string) and
writes local time as if it were UTC, so the Lease is read and written here.
"""

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any, Never

import orjson
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.baselock import BaseLock

from control_plane.kubernetes.api import Answer, Api, ConnectionLostError
from gateway_runtime.telemetry import logger

LEASE_S = 15
RENEW_S = 10
RETRY_S = 2
"""client-go's usual figures: a leader that died is followed after 15 s."""
LEASE_NAME = "meetinity-gateway"
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
"""MicroTime of the Kubernetes API."""


class Election:
    """`run` it; `is_leader` says how it stands. Nothing depends on it but what is written."""

    def __init__(self, api: Api, *, namespace: str, identity: str, name: str = LEASE_NAME) -> None:
        """`identity` has to differ between replicas: a pod's name."""
        self._lock = LeaseLock(api, name, namespace, identity)
        self._leading = False
        self._log = logger("kubernetes").bind(lease=f"{namespace}/{name}")

    @property
    def is_leader(self) -> bool:
        return self._leading

    async def run(self) -> Never:
        # What fails is said by the lock, once; the client would say it every two seconds.
        logging.getLogger(LeaderElection.__module__).setLevel(logging.CRITICAL)
        while True:
            try:
                await self._compete()
            finally:
                self._set_leading(False)
            await asyncio.sleep(RETRY_S)

    async def _compete(self) -> None:
        """Until elected and then until the lease is lost."""
        ended = asyncio.Event()

        async def lead() -> None:
            self._set_leading(True)
            await ended.wait()

        async def stop() -> None:
            return

        try:
            await LeaderElection(Config(self._lock, LEASE_S, RENEW_S, RETRY_S, lead, stop)).run()
        finally:
            # The client leaves its task behind when it is cancelled itself.
            ended.set()

    def _set_leading(self, leading: bool) -> None:
        if leading != self._leading:
            self._leading = leading
            self._log.info("kubernetes_leader", leader=leading)


class LeaseLock(BaseLock):
    """A coordination.k8s.io/v1 Lease; what it was when it was read last guards what is written (resourceVersion)."""

    def __init__(self, api: Api, name: str, namespace: str, identity: str) -> None:
        super().__init__(name, namespace, identity)
        self._api = api
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._read: dict[str, Any] = {}
        self._failure = ""
        self._log = logger("kubernetes").bind(lease=f"{namespace}/{name}")

    async def get(
        self, name: str, namespace: str
    ) -> tuple[bool, LeaderElectionRecord] | tuple[bool, Exception] | tuple[bool, None]:
        """False and an ApiException if it cannot be read; its body tells the client whether the Lease is missing."""
        answer = await self._request("GET", f"{self._path}/{name}", None)
        if answer.status != 200:
            self._note("" if answer.status == 404 else _reason(answer))
            return False, ApiException(
                status=answer.status, reason=_reason(answer), body=f'{{"code": {answer.status}}}'
            )
        self._note("")
        self._read = orjson.loads(answer.body)
        return True, _record(self._read.get("spec") or {})

    async def create(self, name: str, namespace: str, election_record: LeaderElectionRecord) -> bool:
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": namespace},
            "spec": _spec(election_record),
        }
        return self._is_written(await self._request("POST", self._path, lease), 201)

    async def update(self, name: str, namespace: str, updated_record: LeaderElectionRecord) -> bool:
        before = self._read.get("spec") or {}
        spec = {**before, **_spec(updated_record)}
        if before.get("holderIdentity") != updated_record.holder_identity:
            spec["leaseTransitions"] = (before.get("leaseTransitions") or 0) + 1
        return self._is_written(await self._request("PUT", f"{self._path}/{name}", {**self._read, "spec": spec}), 200)

    def _is_written(self, answer: Answer, wanted: int) -> bool:
        # 409: another replica was faster, which is what the lock is for.
        self._note("" if answer.status in (wanted, 409) else _reason(answer))
        return answer.status == wanted

    async def _request(self, method: str, path: str, body: dict[str, Any] | None) -> Answer:
        try:
            return await self._api.request(method, path, body=body)
        except (ConnectionLostError, TimeoutError) as exc:
            return Answer(0, str(exc).encode())

    def _note(self, failure: str) -> None:
        if failure and not self._failure:
            self._log.warning("kubernetes_election_failing", error=failure)
        self._failure = failure


def _reason(answer: Answer) -> str:
    if answer.status == 403:
        return "RBAC forbids it: grant the verbs get, create and update on leases (API group coordination.k8s.io)"
    return f"HTTP status {answer.status}" if answer.status else answer.body.decode(errors="replace")


def _record(spec: dict[str, Any]) -> LeaderElectionRecord:
    duration = spec.get("leaseDurationSeconds")
    return LeaderElectionRecord(
        spec.get("holderIdentity"), str(duration) if duration else None, spec.get("acquireTime"), spec.get("renewTime")
    )


def _spec(record: LeaderElectionRecord) -> dict[str, Any]:
    return {
        "holderIdentity": record.holder_identity,
        "leaseDurationSeconds": int(record.lease_duration or LEASE_S),
        "acquireTime": _micro_time(record.acquire_time),
        "renewTime": _micro_time(record.renew_time),
    }


def _micro_time(text: str | None) -> str:
    """The client's times are local ones without a zone; those that were read from a Lease are in UTC."""
    moment = datetime.fromisoformat(text) if text else datetime.now(UTC)
    return moment.astimezone(UTC).strftime(_TIME)
