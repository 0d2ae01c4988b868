"""The bench of discovery measures what it says."""

from envoy.config.endpoint.v3 import endpoint_pb2

from tests.performance.kubernetes_bench import Discovered, event, measure, pages


def addresses(discovered: Discovered) -> list[str]:
    assignment = endpoint_pb2.ClusterLoadAssignment.FromString(discovered.assignment.body)
    found = [one.endpoint.address.socket_address.address for zone in assignment.endpoints for one in zone.lb_endpoints]
    return sorted(found)


def test_pages_and_events_become_endpoints() -> None:
    """Every endpoint of every page is there, and an event moves those of its slice."""
    discovered = Discovered(pages(120))
    assert 12_000 == len(addresses(discovered))

    discovered.on_event(event(3, 100))
    found = addresses(discovered)
    assert 12_000 == len(found)
    assert "10.0.3.150" in found
    assert "10.0.3.50" not in found


def test_a_quick_run_has_every_figure() -> None:
    """List, models, events, memory, rollout."""
    assert 9 == len(measure(slices=2, repetitions=1, events=4))
