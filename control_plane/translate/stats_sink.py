"""What every Envoy reports of its own statistics to the control plane, for the status page.

Envoy pushes (OTLP) over the connection and with the credential that it has for xDS: no port of it has to be reachable,
and an Envoy behind NAT reports like any other. What does not match is dropped by Envoy itself, before it costs more.
Counters are cumulative: a report that is lost, or that the control plane has no time for, costs resolution, not truth.
"""

from collections.abc import Mapping

from envoy.config.core.v3 import extension_pb2, grpc_service_pb2
from envoy.config.metrics.v3 import stats_pb2
from envoy.extensions.matching.common_inputs.stats.v3 import stats_pb2 as stats_inputs_pb2
from envoy.extensions.stat_sinks.open_telemetry.v3 import open_telemetry_pb2
from envoy.extensions.tracers.opentelemetry.resource_detectors.v3 import static_config_resource_detector_pb2
from google.protobuf.wrappers_pb2 import BoolValue
from xds.core.v3 import extension_pb2 as xds_extension_pb2
from xds.type.matcher.v3 import matcher_pb2, regex_pb2, string_pb2

from control_plane.translate.messages import packed
from control_plane.translate.sources import XDS_CLUSTER
from gateway_runtime.report_names import NODE_CLUSTER, NODE_ID

REPORTED = (
    r"(?:http\..+\.downstream_(?:rq_[1-5]xx|rq_time|rq_active|cx_active)"
    r"|cluster\..+\.(?:upstream_rq_(?:[1-5]xx|time|retry|timeout|pending_overflow)|upstream_cx_connect_fail"
    r"|membership_(?:healthy|total)|outlier_detection\.ejections_active|endpoint\..+\.healthy)"
    r"|server\.(?:uptime|memory_allocated))"
)
"""RE2 over full names: requests and latencies of listeners and services, and the health of endpoints.

Full names, not Envoy's tags: its tag of a cluster ends at the first dot, and names of services may hold dots.
"""
_AGAIN = r"cluster\..+\.(?:internal|external|canary|zone\..+)\.upstream_rq_.+"
"""What Envoy counts once more by where a request came from."""


def stats_sink(node_id: str, cluster: str) -> stats_pb2.StatsSink:
    """For a bootstrap with a control plane."""
    configuration = open_telemetry_pb2.SinkConfig(
        grpc_service=grpc_service_pb2.GrpcService(
            envoy_grpc=grpc_service_pb2.GrpcService.EnvoyGrpc(cluster_name=XDS_CLUSTER)
        ),
        resource_detectors=[_named({NODE_ID: node_id, NODE_CLUSTER: cluster})],
        emit_tags_as_attributes=BoolValue(value=False),
        use_tag_extracted_name=BoolValue(value=False),
        custom_metric_conversions=_all_but_reported(),
    )
    return stats_pb2.StatsSink(name="envoy.stat_sinks.open_telemetry", typed_config=packed(configuration))


def _named(attributes: Mapping[str, str]) -> extension_pb2.TypedExtensionConfig:
    detector = static_config_resource_detector_pb2.StaticConfigResourceDetectorConfig(attributes=attributes)
    return extension_pb2.TypedExtensionConfig(
        name="envoy.tracers.opentelemetry.resource_detectors.static_config", typed_config=packed(detector)
    )


def _all_but_reported() -> matcher_pb2.Matcher:
    """What the pattern does not match is dropped; the sink has no list of what it is to send."""
    predicates = matcher_pb2.Matcher.MatcherList.Predicate
    unwanted = predicates.PredicateList(
        predicate=[
            predicates(single_predicate=_is_named(_AGAIN)),
            predicates(not_matcher=predicates(single_predicate=_is_named(REPORTED))),
        ]
    )
    drop = xds_extension_pb2.TypedExtensionConfig(
        name="drop", typed_config=packed(open_telemetry_pb2.SinkConfig.DropAction())
    )
    return matcher_pb2.Matcher(
        matcher_list=matcher_pb2.Matcher.MatcherList(
            matchers=[
                matcher_pb2.Matcher.MatcherList.FieldMatcher(
                    predicate=predicates(or_matcher=unwanted),
                    on_match=matcher_pb2.Matcher.OnMatch(action=drop),
                )
            ]
        )
    )


def _is_named(pattern: str) -> matcher_pb2.Matcher.MatcherList.Predicate.SinglePredicate:
    return matcher_pb2.Matcher.MatcherList.Predicate.SinglePredicate(
        input=xds_extension_pb2.TypedExtensionConfig(
            name="stat", typed_config=packed(stats_inputs_pb2.StatFullNameMatchInput())
        ),
        value_match=string_pb2.StringMatcher(
            safe_regex=regex_pb2.RegexMatcher(google_re2=regex_pb2.RegexMatcher.GoogleRE2(), regex=pattern)
        ),
    )
