"""Compression of answers: one compressor per algorithm and minimum size, switched on by the routes that want it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from envoy.config.core.v3 import extension_pb2
from envoy.extensions.compression.brotli.compressor.v3 import brotli_pb2
from envoy.extensions.compression.gzip.compressor.v3 import gzip_pb2
from envoy.extensions.filters.http.compressor.v3 import compressor_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2
from envoy.type.matcher.v3 import string_pb2
from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from control_plane.config.effective import EffectiveRoute
from control_plane.config.model.routes import Compression
from control_plane.translate.messages import extension, packed
from control_plane.translate.plain import CONTENT_TYPE_MATCHER, WEAKEN_ETAG_ON_COMPRESS

CONTENT_TYPES = (
    "application/javascript",
    "application/json",
    "application/xml",
    "image/svg+xml",
    "text/css",
    "text/csv",
    "text/html",
    "text/javascript",
    "text/plain",
    "text/xml",
)
"""Not text/event-stream: a compressor holds back events until it has a block."""
CONTENT_TYPE_SUFFIXES = ("+json", "+xml")
_BROTLI_QUALITY = 4
"""Of 0 to 11: denser than gzip at a comparable cost; the default of 3 is built for speed alone."""


@dataclass(frozen=True, slots=True, order=True)
class Compressor:
    """One filter instance: Envoy can set nothing of this per route."""

    algorithm: str
    min_size: int
    is_preferred: bool
    """Taken when the client likes several algorithms equally; the first one that a route lists."""

    @property
    def name(self) -> str:
        suffix = ".preferred" if self.is_preferred else ""
        return f"envoy.filters.http.compressor.{self.algorithm}.{self.min_size}{suffix}"


def compressors(compression: Compression | None) -> list[Compressor]:
    """What one route needs, in the order of the filter chain."""
    if compression is None:
        return []
    wanted = dict.fromkeys(compression.algorithms)
    return sorted(
        Compressor(algorithm, compression.min_size, is_preferred=position == 0 and len(wanted) > 1)
        for position, algorithm in enumerate(wanted)
    )


def compression_filters(routes: Iterable[EffectiveRoute]) -> Iterator[http_connection_manager_pb2.HttpFilter]:
    """Every compressor that some route needs, off until a route switches it on."""
    for compressor in sorted({c for route in routes for c in compressors(route.compression)}):
        yield http_connection_manager_pb2.HttpFilter(
            name=compressor.name, typed_config=packed(_configuration(compressor)), disabled=True
        )


def compression_of_route(route: EffectiveRoute) -> Iterator[tuple[str, Any]]:
    """Per-route configurations by filter.

    The last compressor removes Accept-Encoding, so that services answer uncompressed and ext_proc stores that; an
    earlier one would hide the header from those behind it.
    """
    wanted = compressors(route.compression)
    for compressor in wanted:
        is_last = compressor is wanted[-1]
        overrides = compressor_pb2.CompressorOverrides(
            response_direction_config=compressor_pb2.ResponseDirectionOverrides(
                remove_accept_encoding_header=BoolValue(value=is_last)
            )
        )
        yield compressor.name, packed(compressor_pb2.CompressorPerRoute(overrides=overrides))


def _configuration(compressor: Compressor) -> compressor_pb2.Compressor:
    common = compressor_pb2.Compressor.CommonDirectionConfig(min_content_length=UInt32Value(value=compressor.min_size))
    # `content_type` is deprecated in 1.40 and warned about in Envoy's log.
    common.MergeFromString(
        CONTENT_TYPE_MATCHER.encoded(
            [
                *(string_pb2.StringMatcher(exact=content_type) for content_type in CONTENT_TYPES),
                *(string_pb2.StringMatcher(suffix=suffix) for suffix in CONTENT_TYPE_SUFFIXES),
            ]
        )
    )
    direction = compressor_pb2.Compressor.ResponseDirectionConfig(common_config=common)
    # Without it Envoy deletes the strong ETags of what it compresses, and clients can no longer revalidate.
    direction.MergeFromString(WEAKEN_ETAG_ON_COMPRESS.encoded(True))
    return compressor_pb2.Compressor(
        compressor_library=_library(compressor.algorithm),
        response_direction_config=direction,
        choose_first=compressor.is_preferred,
    )


def _library(algorithm: str) -> extension_pb2.TypedExtensionConfig:
    if algorithm == "br":
        return extension("br", brotli_pb2.Brotli(quality=UInt32Value(value=_BROTLI_QUALITY)))
    return extension("gzip", gzip_pb2.Gzip())
