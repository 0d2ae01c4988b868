"""When a process that died is started again: at once the first time, then ever later, and at most 10 s later."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """All in seconds."""

    first_s: float = 0.2
    """A death is followed by a start within a second."""
    longest_s: float = 10.0
    factor: float = 2.0
    stable_s: float = 10.0
    """A process that lived so long starts over at first_s: its next death is news, not a loop."""


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """What one process has been through; times are of a monotonic clock, in seconds."""

    started_s: float = 0.0
    deaths: int = 0
    """In a row: none of them after a stable life."""

    def started(self, now_s: float) -> "Lifecycle":
        return replace(self, started_s=now_s)

    def died(self, now_s: float, policy: RestartPolicy) -> "Lifecycle":
        stable = now_s - self.started_s >= policy.stable_s
        return replace(self, deaths=1 if stable else self.deaths + 1)

    def restart_delay_s(self, policy: RestartPolicy) -> float:
        """How long to wait after the last death."""
        if self.deaths == 0:
            return 0.0
        # The exponent is bounded because a float is.
        return float(min(policy.longest_s, policy.first_s * policy.factor ** min(self.deaths - 1, 60)))


def exit_text(returncode: int, signal_names: dict[int, str]) -> str:
    """`exit status 1`, or `killed by SIGKILL` (a negative returncode is a signal's number)."""
    if returncode >= 0:
        return f"exit status {returncode}"
    return f"killed by {signal_names.get(-returncode, f'signal {-returncode}')}"
