"""What of a log entry is counted, and what is not kept."""

import pytest

from control_plane.analytics.entries import EXT_AUTHZ_FILTER, MAX_NAME, PATH_TAG, Deprecation, Key, api_version, counted
from control_plane.translate import names
from tests.unit.control_plane.analytics.samples import entry


def test_an_entry_counts_for_consumer_route_version_and_status() -> None:
    """With its duration and the bytes of its answer; nothing else of it is kept."""
    found = counted("edge", entry(proven={"user": "alice"}))

    assert (Key("edge", "user:alice", "users", "v1", 200), 0.012, 100, None) == found
    assert "s3cr3t" not in repr(found)


@pytest.mark.parametrize(
    ("proven", "consumer"),
    [
        ({"user": "alice"}, "user:alice"),
        ({"api_key": "acme"}, "key:acme"),
        ({"user": "alice", "api_key": "acme"}, "user:alice"),
        ({"user": "", "rate_limit": "per-user"}, "anonymous"),
        ({}, "anonymous"),
        (None, "anonymous"),
    ],
)
def test_the_consumer_is_who_was_proven(proven: dict[str, str] | None, consumer: str) -> None:
    """The subject of a token, else the id of a key, else nobody."""
    assert consumer == counted("edge", entry(proven=proven)).key.consumer


def test_names_are_bounded_and_can_be_stored() -> None:
    """A subject may be as long as a header, and hold what PostgreSQL does not take."""
    found = counted("edge", entry(proven={"user": "\x00" + "x" * 5000})).key.consumer

    assert len("user:") + MAX_NAME == len(found)
    assert "\x00" not in found


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/v1/users", "v1"),
        ("/api/v2/users", "v2"),
        ("/api/v2", "v2"),
        ("/api/v1beta1/users", "v1beta1"),
        ("/v2alpha", "v2alpha"),
        ("/api/users/v3", ""),
        ("/api/users", ""),
        ("/very", ""),
        ("/v123/x", ""),
        ("/api/v1x/users", ""),
        ("", ""),
        ("*", ""),
    ],
)
def test_the_version_is_one_of_the_first_two_segments(path: str, version: str) -> None:
    """Two digits at most, so that a caller cannot make up many."""
    assert version == api_version(path)


def test_the_version_is_that_of_the_path_before_rewriting() -> None:
    """What the client asked for counts, not what the service got; without one there is none."""
    untagged = entry("/v1/users")
    del untagged.common_properties.custom_tags[PATH_TAG]

    assert ("v1", "") == (counted("edge", entry("/v1/users")).key.version, counted("edge", untagged).key.version)


def test_a_request_without_route_has_no_version() -> None:
    """Paths that lead nowhere are made up."""
    assert ("", "") == counted("edge", entry("/v9/x", route="", status=404)).key[2:4]


def test_a_client_that_went_away_has_status_0() -> None:
    """As in Envoy's own log."""
    assert 0 == counted("edge", entry(status=0)).key.status


def test_a_deprecated_route_says_so_by_its_headers() -> None:
    """Since when, until when and what comes after it."""
    headers = {"deprecation": "@1788220800", "sunset": "Wed, 01 Sep 2027 00:00:00 GMT", "link": '</v2>; rel="x"'}

    expected = Deprecation("@1788220800", "Wed, 01 Sep 2027 00:00:00 GMT", "/v2")
    assert expected == counted("edge", entry(headers=headers)).deprecation
    assert Deprecation("@1", "", "") == counted("edge", entry(headers={"deprecation": "@1"})).deprecation
    assert counted("edge", entry(headers={"link": "</v2>"})).deprecation is None


def test_names_are_those_of_the_translation() -> None:
    """They are written twice, since this process does not load it."""
    assert (names.EXT_AUTHZ_FILTER, names.PATH_TAG) == (EXT_AUTHZ_FILTER, PATH_TAG)
