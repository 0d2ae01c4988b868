"""Reports of statistics as Envoy and the callouts send them, for tests that have neither."""

from collections.abc import Mapping, Sequence

from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.common.v1 import common_pb2

from control_plane.traffic.report import BOUNDS_MS
from gateway_runtime.report_names import NODE_CLUSTER, NODE_ID


def envoy_report(
    node: str,
    cluster: str,
    *,
    counters: Mapping[str, int] | None = None,
    gauges: Mapping[str, int] | None = None,
    latencies_ms: Mapping[str, Sequence[float]] | None = None,
) -> bytes:
    """One ExportMetricsServiceRequest.

    Args:
        counters: by full name.
        gauges: by full name.
        latencies_ms: by full name of a histogram, what was measured since the start.
    """
    message = metrics_service_pb2.ExportMetricsServiceRequest()
    resource_metrics = message.resource_metrics.add()
    for key, value in ((NODE_ID, node), (NODE_CLUSTER, cluster)):
        resource_metrics.resource.attributes.append(
            common_pb2.KeyValue(key=key, value=common_pb2.AnyValue(string_value=value))
        )
    metrics = resource_metrics.scope_metrics.add().metrics
    for name, number in (gauges or {}).items():
        metrics.add(name=name).gauge.data_points.add(as_int=number)
    for name, number in (counters or {}).items():
        metrics.add(name=name).sum.data_points.add(as_int=number)
    for name, values in (latencies_ms or {}).items():
        point = metrics.add(name=name).histogram.data_points.add(count=len(values), explicit_bounds=BOUNDS_MS)
        point.bucket_counts.extend(_buckets(values))
    return message.SerializeToString()


def _buckets(values: Sequence[float]) -> list[int]:
    counts = [0] * (len(BOUNDS_MS) + 1)
    for value in values:
        place = next((index for index, bound in enumerate(BOUNDS_MS) if value <= bound), len(BOUNDS_MS))
        counts[place] += 1
    return counts
