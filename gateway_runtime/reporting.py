"""Tells the control plane a few of this process's own numbers, for its status page: OTLP over the xDS connection.

Nothing waits for it. While the control plane is away nothing is told; numbers are cumulative, so nothing is lost.
"""

import asyncio
from collections.abc import Collection, Mapping
from typing import Never

from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.common.v1 import common_pb2
from opentelemetry.proto.metrics.v1 import metrics_pb2
from prometheus_client import CollectorRegistry

from gateway_runtime.report_names import NODE_CLUSTER, NODE_ID, NODE_KIND
from gateway_runtime.xds_client import XdsClient

_METHOD = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
_INTERVAL_S = 5.0


async def report(
    xds: XdsClient, registry: CollectorRegistry, names: Collection[str], interval_s: float = _INTERVAL_S
) -> Never:
    """Until cancelled.

    Args:
        names: of the counters that are told, as they stand in /metrics.
    """
    attributes = {NODE_ID: xds.node.id, NODE_CLUSTER: xds.node.cluster, NODE_KIND: xds.node.user_agent_name}
    while True:
        if xds.is_connected:
            await xds.call(_METHOD, encoded(registry, names, attributes))
        await asyncio.sleep(interval_s)


def encoded(registry: CollectorRegistry, names: Collection[str], attributes: Mapping[str, str]) -> bytes:
    """An ExportMetricsServiceRequest with these samples of the registry."""
    message = metrics_service_pb2.ExportMetricsServiceRequest()
    resource_metrics = message.resource_metrics.add()
    resource_metrics.resource.attributes.extend(_key_values(attributes))
    scope = resource_metrics.scope_metrics.add()
    metrics: dict[str, metrics_pb2.Metric] = {}
    for family in registry.collect():
        for sample in family.samples:
            if sample.name not in names:
                continue
            metric = metrics.get(sample.name)
            if metric is None:
                metric = metrics[sample.name] = scope.metrics.add(name=sample.name)
                metric.sum.is_monotonic = True
                metric.sum.aggregation_temporality = metrics_pb2.AGGREGATION_TEMPORALITY_CUMULATIVE
            metric.sum.data_points.add(attributes=_key_values(sample.labels), as_double=sample.value)
    return message.SerializeToString()


def _key_values(attributes: Mapping[str, str]) -> list[common_pb2.KeyValue]:
    return [
        common_pb2.KeyValue(key=key, value=common_pb2.AnyValue(string_value=value)) for key, value in attributes.items()
    ]
