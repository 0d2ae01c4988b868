"""POST /api/cache/purge: one JSON object with one of tag, prefix, key, all."""

import orjson
from aiohttp import web
from aiohttp.typedefs import Handler

from control_plane.purges import Purges
from policy.errors import PolicyError
from protos.gateway.policy.v1 import cache_purge_pb2

_TIMEOUT_S = 5.0
"""A connected ext_proc that has not purged by then is reported as missing."""


def purge_handler(purges: Purges) -> Handler:
    """200 with the node ids that have acknowledged and those that have not; 400 for what cannot be purged."""

    async def purge(request: web.Request) -> web.Response:
        if request.content_type != "application/json":
            # A page in a browser on this machine cannot send that to another origin without asking.
            return web.Response(status=415, text="the body has to be application/json\n")
        try:
            message = _message(await request.read())
            outcome = await purges.purge(message, timeout_s=_TIMEOUT_S)
        except PolicyError as error:
            return web.Response(status=400, text=f"{error}\n")
        return web.Response(body=orjson.dumps(outcome), content_type="application/json")

    return purge


def _message(body: bytes) -> cache_purge_pb2.CachePurge:
    try:
        wanted = orjson.loads(body)
    except ValueError as error:
        raise PolicyError("the body is not JSON") from error
    match wanted:
        case {"tag": str(tag), **others} if not others:
            return cache_purge_pb2.CachePurge(tag=tag)
        case {"prefix": str(prefix), **others} if not others:
            return cache_purge_pb2.CachePurge(prefix=prefix)
        case {"key": str(key), **others} if not others:
            return cache_purge_pb2.CachePurge(key=key)
        case {"all": True, **others} if not others:
            return cache_purge_pb2.CachePurge(all=True)
        case _:
            raise PolicyError('one of {"tag": T}, {"prefix": P}, {"key": URL} and {"all": true} is needed')
