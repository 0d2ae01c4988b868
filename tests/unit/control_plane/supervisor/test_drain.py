"""When is an Envoy empty?"""

import pytest

from control_plane.supervisor.drain import active_requests


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        ("", 0),
        ("http.public.downstream_rq_active: 2\nhttp.admin.downstream_rq_active: 1\n", 2),
        ("http.public.downstream_rq_active: 1\nhttp.internal.downstream_rq_active: 3\n", 4),
        ("<html>not Envoy</html>", 0),
    ],
)
def test_active_requests_of_clients_are_counted(stats: str, expected: int) -> None:
    """The admin's own request, which asks, does not count."""
    assert expected == active_requests(stats)
