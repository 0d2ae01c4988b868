"""Which replica writes to the cluster: leader election on a Lease, by the official client. All replicas serve."""

import asyncio
import logging
from typing import Never

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.leaderelectionrecord import LeaderElectionRecord
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

from gateway_runtime.telemetry import logger

LEASE_S = 15
RENEW_S = 10
RETRY_S = 2
"""client-go's usual figures: a leader that died is followed after 15 s."""
LEASE_NAME = "meetinity-gateway"


class Election:
    """`run` it; `is_leader` says how it stands. Nothing depends on it but what is written."""

    def __init__(self, api_client: ApiClient, *, namespace: str, identity: str, name: str = LEASE_NAME) -> None:
        """`identity` has to differ between replicas: a pod's name."""
        self._lock = _Lock(name, namespace, identity, api_client)
        self._leading = False
        self._log = logger("kubernetes").bind(lease=f"{namespace}/{name}")

    @property
    def is_leader(self) -> bool:
        return self._leading

    async def run(self) -> Never:
        # What fails is said below, once; the client would write a traceback every two seconds.
        logging.getLogger(LeaseLock.__module__).setLevel(logging.CRITICAL)
        logging.getLogger(LeaderElection.__module__).setLevel(logging.CRITICAL)
        while True:
            try:
                await self._compete()
            except (aiohttp.ClientError, ApiException, TimeoutError, OSError) as exc:
                self._lock.note(str(exc))
            finally:
                self._set_leading(False)
            await asyncio.sleep(RETRY_S)

    async def _compete(self) -> None:
        """Until elected and then until the lease is lost."""
        lost = asyncio.Event()

        async def lead() -> None:
            self._set_leading(True)
            await lost.wait()

        async def stop() -> None:
            return

        try:
            await LeaderElection(Config(self._lock, LEASE_S, RENEW_S, RETRY_S, lead, stop)).run()
        finally:
            # The client leaves its task behind when renewing raises.
            lost.set()

    def _set_leading(self, leading: bool) -> None:
        if leading != self._leading:
            self._leading = leading
            self._log.info("kubernetes_leader", leader=leading)


class _Lock(LeaseLock):
    """Says once why the Lease cannot be read."""

    def __init__(self, name: str, namespace: str, identity: str, api_client: ApiClient) -> None:
        super().__init__(name, namespace, identity, api_client)
        self._failure = ""
        self._log = logger("kubernetes").bind(lease=f"{namespace}/{name}")

    async def get(
        self, name: str, namespace: str
    ) -> tuple[bool, LeaderElectionRecord] | tuple[bool, Exception] | tuple[bool, None]:
        found = await super().get(name, namespace)
        failure = found[1]
        if isinstance(failure, ApiException) and failure.status != 404:
            self.note(f"{failure.status} {failure.reason}")
        else:
            self._failure = ""
        return found

    def note(self, failure: str) -> None:
        if failure != self._failure:
            self._failure = failure
            self._log.warning("kubernetes_election_failing", error=failure)
