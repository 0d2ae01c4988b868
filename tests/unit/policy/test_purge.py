"""What a CachePurge means."""

import pytest

from policy.cache_key import cache_uri, uri_parts
from policy.errors import PolicyError
from policy.purge import ByPrefix, ByTag, ByUri, Everything, compile_purge
from protos.gateway.policy.v1.cache_purge_pb2 import CachePurge


def test_each_way_to_name_what_is_purged() -> None:
    """URLs are normalised as the cache does it."""
    assert ByTag("user-7") == compile_purge(CachePurge(tag="user-7"))
    assert Everything() == compile_purge(CachePurge(all=True))
    assert ByUri(cache_uri("https", "a.example", "/x?a=1&b=2")) == compile_purge(
        CachePurge(key="https://A.example:443/x?b=2&a=1")
    )
    assert ByUri(cache_uri("http", "a.example", "/")) == compile_purge(CachePurge(key="http://a.example"))
    assert ByPrefix("", "", "/api/") == compile_purge(CachePurge(prefix="/api/"))
    assert ByPrefix("https", "a.example", "/api") == compile_purge(CachePurge(prefix="https://a.example/api"))


@pytest.mark.parametrize(
    "message",
    [
        CachePurge(),
        CachePurge(tag=""),
        CachePurge(tag="a, b"),
        CachePurge(key="/no-host"),
        CachePurge(key="https://[broken"),
        CachePurge(prefix="ftp://a/"),
    ],
)
def test_what_means_nothing_is_refused(message: CachePurge) -> None:
    """Better than to purge something else."""
    with pytest.raises(PolicyError):
        compile_purge(message)


def test_a_prefix_covers_its_paths_on_its_hosts() -> None:
    """A path alone covers every host."""
    uri = cache_uri("https", "a.example", "/api/users?page=2")

    assert ("https", "a.example", "/api/users?page=2") == uri_parts(uri)
    assert ByPrefix("", "", "/api/").covers(uri)
    assert ByPrefix("https", "a.example", "/api/users?page").covers(uri)
    assert not ByPrefix("https", "b.example", "/api").covers(uri)
    assert not ByPrefix("http", "a.example", "/api").covers(uri)
    assert not ByPrefix("", "", "/users").covers(uri)
