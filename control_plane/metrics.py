"""What the control plane counts; labels are bounded: no node ids, no resource names."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """All metrics of this process, in the registry that it is given."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.config_valid = Gauge(
            "gateway_config_valid", "1 if the configuration's last text is being served.", registry=registry
        )
        self.config_reloads = Counter(
            "gateway_config_reloads", "Configuration texts read, by result.", ["result"], registry=registry
        )
        self.build_seconds = Histogram(
            "gateway_build_seconds",
            "From a configuration's text to its snapshot.",
            buckets=(0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5),
            registry=registry,
        )
        self.resources = Gauge(
            "gateway_resources", "Resources that are served.", ["gateway", "type"], registry=registry
        )
        self.endpoint_updates = Counter(
            "gateway_endpoint_updates", "Assignments published for changed endpoints alone.", registry=registry
        )
        self.snapshot_time = Gauge(
            "gateway_snapshot_timestamp_seconds", "When the served snapshot changed.", ["gateway"], registry=registry
        )
        self.streams = Gauge("gateway_xds_streams", "Open xDS streams.", ["kind", "variant"], registry=registry)
        self.pushes = Counter("gateway_xds_pushes", "Responses sent.", ["type"], registry=registry)
        self.pushed_bytes = Counter(
            "gateway_xds_pushed_bytes", "Bytes of the responses sent.", ["type"], registry=registry
        )
        self.acks = Counter("gateway_xds_acks", "Responses that clients took.", ["type"], registry=registry)
        self.nacks = Counter("gateway_xds_nacks", "Responses that clients refused.", ["type"], registry=registry)
        self.refused_streams = Counter(
            "gateway_xds_refused_streams", "Streams ended with an error, by gRPC status.", ["code"], registry=registry
        )
        self.ack_seconds = Histogram(
            "gateway_xds_ack_seconds",
            "From a response to its ACK or NACK.",
            ["type"],
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 1, 2, 5, 15),
            registry=registry,
        )
