"""What is lost is what Envoy has counted and what has not arrived."""

from control_plane.analytics.losses import MAX_ENVOYS, Losses, counters_sum

EXPOSITION = """
# TYPE envoy_access_logs_grpc_access_log_grpc_entries_flushed counter
envoy_access_logs_grpc_access_log_grpc_entries_flushed{} 9
# TYPE envoy_access_logs_grpc_access_log_logs_dropped counter
envoy_access_logs_grpc_access_log_logs_dropped{} 3
# TYPE envoy_access_logs_grpc_access_log_logs_written counter
envoy_access_logs_grpc_access_log_logs_written{} 28
"""


def _settle(losses: Losses, counter: int) -> int:
    losses.counted("a", counter)
    losses.counted("a", counter)
    return losses.newly_lost()


def _known(counter: int = 0) -> Losses:
    """An Envoy whose counter was that when it was met."""
    losses = Losses()
    losses.arrived("a", 0, 1.0)
    losses.counted("a", counter)
    return losses


def test_sent_and_dropped_entries_are_what_envoy_wanted_to_send() -> None:
    """What is still in its buffer is not among them."""
    assert 12 == counters_sum(EXPOSITION)
    assert 0 == counters_sum("")


def test_nothing_is_lost_when_all_has_arrived() -> None:
    """However much has come since Envoy was asked."""
    losses = _known()
    for number in range(1, 20):
        losses.arrived("a", 100, 1.0)
        losses.counted("a", number * 100 - 30)

    assert 0 == _settle(losses, 1900)


def test_what_did_not_come_is_lost_once() -> None:
    """Told when it is known, and not again."""
    losses = _known()
    losses.arrived("a", 60, 1.0)

    assert 40 == _settle(losses, 100)
    assert 0 == _settle(losses, 100)
    losses.arrived("a", 50, 1.0)
    assert 10 == _settle(losses, 160)


def test_a_receiver_that_is_behind_has_lost_nothing() -> None:
    """What is missing once may come."""
    losses = _known()
    losses.counted("a", 100)
    losses.arrived("a", 100, 1.0)

    assert 0 == _settle(losses, 100)


def test_what_was_before_an_envoy_was_met_is_nobodys_loss() -> None:
    """Nor is what of it had come already."""
    losses = Losses()
    assert losses.arrived("a", 7, 1.0)
    assert not losses.arrived("a", 1, 1.0)
    losses.counted("a", 1_000_000)
    losses.counted("unknown", 5)

    assert 0 == _settle(losses, 1_000_000)


def test_an_envoy_that_starts_again_counts_from_zero() -> None:
    """Its counter does; ours goes on."""
    losses = _known(500)
    losses.arrived("a", 15, 1.0)

    assert 5 == _settle(losses, 20)


def test_it_outlives_the_process() -> None:
    """What an Envoy has sent meanwhile is lost, and what was known stays known."""
    before = _known(10)
    before.arrived("a", 10, 1.0)
    before.counted("a", 20)
    after = Losses(before.kept())

    assert 80 == _settle(after, 100)


def test_envoys_are_bounded() -> None:
    """Those that send nothing any more are forgotten, and no more than so many are known."""
    losses = Losses()
    losses.arrived("old", 1, 1.0)
    for number in range(2 * MAX_ENVOYS):
        losses.arrived(str(number), 1, 9.0)
    assert MAX_ENVOYS == len(losses.kept())
    losses.forget(5.0)

    assert "old" not in losses.kept()
