"""What is reported to the cluster as Kubernetes Events, and how often."""

from collections.abc import Iterable
from dataclasses import dataclass

REPEAT_S = 600
"""A problem that lasts is reported again after so long; Events live for an hour."""
PER_MINUTE = 10
"""Whatever happens, no more Events than that: etcd keeps every one."""
MAX_MESSAGE = 1024
"""Of an Event's message, by the API."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The object that a problem belongs to."""

    kind: str
    namespace: str
    name: str

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/{self.kind.lower()}s/{self.name}"


def config_map_reference(text: str) -> Reference | None:
    """`namespace/name`; None for "". Raises ValueError for what is neither."""
    if not text:
        return None
    namespace, slash, name = text.partition("/")
    if not (namespace and slash and name) or "/" in name:
        raise ValueError(f"{text!r} is not a ConfigMap (NAMESPACE/NAME)")
    return Reference("ConfigMap", namespace, name)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that somebody should mend."""

    reference: Reference
    reason: str
    """CamelCase, of a small fixed set."""
    message: str


class EventLog:
    """Which of the present problems are due to be reported; the clock is an argument."""

    def __init__(self) -> None:
        self._reported: dict[Problem, float] = {}
        self._times: list[float] = []

    def due(self, present: Iterable[Problem], now: float) -> tuple[Problem, ...]:
        """New problems, and old ones whose last report is long ago; those beyond the rate come later."""
        problems = tuple(dict.fromkeys(present))
        self._reported = {
            problem: at for problem, at in self._reported.items() if problem in problems or now - at < REPEAT_S
        }
        self._times = [at for at in self._times if now - at < 60]
        wanted = [one for one in problems if now - self._reported.get(one, -REPEAT_S) >= REPEAT_S]
        found = wanted[: max(0, PER_MINUTE - len(self._times))]
        self._times += [now] * len(found)
        self._reported.update(dict.fromkeys(found, now))
        return tuple(found)


def event(problem: Problem, *, uid: str, component: str, instance: str, timestamp: str) -> dict[str, object]:
    """The body of a core/v1 Event. `kubectl describe` finds it by the object's uid."""
    reference = problem.reference
    involved = {"apiVersion": "v1", "kind": reference.kind, "namespace": reference.namespace, "name": reference.name}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{reference.name}.", "namespace": reference.namespace},
        "involvedObject": {**involved, "uid": uid} if uid else involved,
        "type": "Warning",
        "reason": problem.reason,
        "message": problem.message[:MAX_MESSAGE],
        "source": {"component": component, "host": instance},
        "reportingComponent": component,
        "reportingInstance": instance,
        "firstTimestamp": timestamp,
        "lastTimestamp": timestamp,
        "count": 1,
    }
