"""The bench of the control plane measures what it says."""

from tests.performance.control_plane_work import Publication, measure


def test_one_changed_endpoint_is_one_response_a_stream() -> None:
    """A publication that sent anything but the one changed assignment would raise."""
    publication = Publication(clusters=10, streams=2)

    publication.change_one_endpoint()
    publication.change_one_endpoint()


def test_quick_run_has_a_figure_for_each_kind_of_work() -> None:
    """Reading, translating and publishing are all there."""
    titles = [timing.title for timing in measure(quick=True)]

    assert [
        "read and check 50 routes",
        "translate 50 routes",
        "publish one changed endpoint of 10 clusters to 2 delta streams",
    ] == titles
