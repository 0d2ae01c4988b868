"""Several workers share the tests (pytest-xdist): those of one group run on one of them, and share what they start."""

import pytest


@pytest.mark.xdist_group("workers")
def test_groups_stay_together(request: pytest.FixtureRequest) -> None:
    """xdist schedules by the name that it gives the test; without it each worker starts every gateway anew."""
    is_worker = hasattr(request.config, "workerinput")

    assert request.node.nodeid.endswith("@workers") == is_worker
