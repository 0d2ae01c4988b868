"""Asks an Envoy how many access log entries it has written and dropped."""

import aiohttp

from control_plane.analytics.losses import counters_sum

_QUERY = "/stats/prometheus?filter=grpc_access_log"
_MAX_BYTES = 64 * 1024


class EnvoyStats:
    """See worker.AskEnvoy."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._port = port

    async def __call__(self, host: str) -> int | None:
        if not host:
            return None
        where = f"[{host}]" if ":" in host else host
        try:
            async with self._session.get(f"http://{where}:{self._port}{_QUERY}") as answer:
                if answer.status != 200:
                    return None
                body = await answer.content.read(_MAX_BYTES)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return None
        return counters_sum(body.decode(errors="replace"))
