"""What is installed beside us."""

from opentelemetry.proto.common.v1 import common_pb2


def test_opentelemetry_is_not_the_older_copy_of_xds_protos() -> None:
    """Both packages hold them and the last installed wins; tracing needs the newer (requirements/last.lock)."""
    assert "InstrumentationScope" in common_pb2.DESCRIPTOR.message_types_by_name
