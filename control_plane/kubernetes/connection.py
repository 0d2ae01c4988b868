"""HTTP to the API server with its credentials, both by the official client; bodies stay bytes.

Tokens of pods are re-read by the client every minute. Credentials that are refused (401, or a certificate that no
longer verifies) are read again from where they came, into the same connection pool, so that running watches go on.
"""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.config.config_exception import ConfigException
from kubernetes.aio.config.incluster_config import load_incluster_config
from kubernetes.aio.config.kube_config import load_kube_config

from control_plane.kubernetes.api import Answer, ConnectionLostError, CredentialsError, Stream
from control_plane.kubernetes.list_watch import SILENCE_S

REQUEST_TIMEOUT_S = 60
CONNECT_TIMEOUT_S = 10


class Credentials(Protocol):
    """Where credentials come from; called again when they were refused."""

    async def __call__(self) -> Configuration: ...


async def in_cluster() -> Configuration:
    """A pod's service account."""
    configuration = Configuration()
    try:
        load_incluster_config(configuration)
    except (ConfigException, OSError) as exc:
        raise CredentialsError(f"no Kubernetes credentials of a pod: {exc}") from exc
    return configuration


def from_kubeconfig(path: str, context: str | None = None) -> Credentials:
    """The current (or the named) context of a kubeconfig file; nothing is written to it."""

    async def load() -> Configuration:
        configuration = Configuration()
        try:
            await load_kube_config(path, context, configuration, persist_config=False)
        except (ConfigException, OSError, ValueError, KeyError) as exc:
            raise CredentialsError(f"the kubeconfig {path} cannot be used: {exc}") from exc
        return configuration

    return load


class Connection:
    """Requests to one API server. Use as an async context manager; `open` first reads the credentials."""

    def __init__(self, credentials: Credentials, *, user_agent: str = "meetinity-gateway") -> None:
        self._credentials = credentials
        self._user_agent = user_agent
        self._client: ApiClient | None = None

    async def __aenter__(self) -> "Connection":
        configuration = await self._credentials()
        configuration.connection_pool_maxsize = 0  # each watch holds a connection: no limit
        self._client = ApiClient(configuration)
        self._client.user_agent = self._user_agent
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()

    @property
    def api_client(self) -> ApiClient:
        """The official client, for its leader election."""
        if self._client is None:
            raise RuntimeError("the connection is not open")
        return self._client

    async def request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, body: Mapping[str, object] | None = None
    ) -> Answer:
        """One request, its whole answer. Raises ConnectionLostError."""
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        try:
            response = await self._send(method, path, query or {}, timeout, body)
            try:
                return Answer(response.status, await response.read(), response.headers.get("Retry-After"))
            finally:
                response.release()
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise _failure(exc) from exc

    @asynccontextmanager
    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Stream]:
        """A watch, open while the context is. Raises ConnectionLostError."""
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_S)
        try:
            response = await self._send("GET", path, {**query, "watch": "1"}, timeout)
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise _failure(exc) from exc
        try:
            yield _Stream(response)
        finally:
            response.close()

    async def renew_credentials(self) -> None:
        """Read them again. Raises ConnectionLostError if that fails; what there was stays."""
        try:
            fresh = await self._credentials()
            context: ssl.SSLContext = self.api_client.rest_client.ssl_context
            if fresh.ssl_ca_cert is not None or fresh.ca_cert_data is not None:
                context.load_verify_locations(cafile=fresh.ssl_ca_cert, cadata=fresh.ca_cert_data)
            if fresh.cert_file is not None:
                context.load_cert_chain(fresh.cert_file, fresh.key_file)
        except (CredentialsError, OSError) as exc:
            raise _failure(exc) from exc
        self.api_client.configuration.api_key = fresh.api_key
        self.api_client.configuration.refresh_api_key_hook = fresh.refresh_api_key_hook

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
        body: Mapping[str, object] | None = None,
    ) -> aiohttp.ClientResponse:
        content_type = "application/merge-patch+json" if method == "PATCH" else "application/json"
        # Compressed lists would cost more CPU here than they save inside a cluster.
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", "Content-Type": content_type}
        try:
            method, url, headers, _, _ = await self.api_client.param_serialize(
                method, path, query_params=list(query.items()), header_params=headers, auth_settings=["BearerToken"]
            )
            answer = await self.api_client.rest_client.request(
                method, url, headers=headers, body=body, _request_timeout=timeout
            )
        except (ConfigException, ApiException) as exc:
            raise ConnectionLostError(f"no credentials: {exc}") from exc
        response: aiohttp.ClientResponse = answer.response
        return response


class _Stream:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.retry_after = response.headers.get("Retry-After")

    async def lines(self) -> AsyncIterator[bytes]:
        """Complete lines, of any length (aiohttp's own reader gives up at a limit)."""
        rest = b""
        try:
            async for chunk in self._response.content.iter_any():
                *complete, rest = (rest + chunk).split(b"\n")
                for line in complete:
                    if line:
                        yield line
        except TimeoutError:  # of sock_read; also a ClientError, so it comes first
            raise TimeoutError from None
        except (aiohttp.ClientError, OSError) as exc:
            raise _failure(exc) from exc

    async def body(self) -> bytes:
        try:
            return await self._response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as exc:
            raise _failure(exc) from exc


def _failure(exc: Exception) -> ConnectionLostError:
    if isinstance(exc, aiohttp.ClientPayloadError):  # its own text is about the transfer encoding
        return ConnectionLostError("the connection broke off")
    return ConnectionLostError(str(exc) or type(exc).__name__)
