"""Of the log: whether it has gaps."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from gateway_runtime.telemetry import Logs


class LogCollector(Collector):
    """Read when somebody asks: whoever logs counts nothing for it."""

    def __init__(self, logs: Logs) -> None:
        self._logs = logs

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(
            "gateway_log_lines_dropped",
            "Log lines that were not written: nobody empties the pipe (queue_full), or one event came too often.",
            labels=["reason"],
        )
        for reason, count in self._logs.dropped().items():
            family.add_metric([reason], count)
        yield family
