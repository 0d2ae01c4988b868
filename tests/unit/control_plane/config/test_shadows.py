"""Routes that no request reaches."""

import time

import pytest

from tests.unit.control_plane.config.documents import document, loaded, warnings

AUTH = "auth: {any_of: [jwt.main]}"


def _shadowed(*matches: str) -> list[int]:
    """Indices of the routes that are reported."""
    routes = "\n".join(
        f"  - {{name: r{place}, service: users, {AUTH}, {match}}}" for place, match in enumerate(matches)
    )
    found = [warning for warning in warnings(routes=f"routes:\n{routes}") if "never reached" in warning]
    return [place for place in range(len(matches)) if any(w.startswith(f"routes[{place}]") for w in found)]


SHADOWED = {
    "same": ("match: {path: /a}", "match: {path: /a}"),
    "prefix_of_prefix": ("match: {path_prefix: /a}", "match: {path_prefix: /a/b}"),
    "prefix_of_path": ("match: {path_prefix: /a/}", "match: {path: /a}"),
    "everything": ("match: {path_prefix: /}", "match: {path_regex: '/x.*'}"),
    "no_match_is_everything": ("hosts: ['*']", "hosts: [a.example.com], match: {path: /a}"),
    "host_pattern": ("hosts: ['*.example.com']", "hosts: [a.b.example.com]"),
    "host_pattern_of_pattern": ("hosts: ['*.example.com']", "hosts: ['*.b.example.com']"),
    "letter_case_of_hosts": ("hosts: [A.example.com]", "hosts: [a.EXAMPLE.com]"),
    "fewer_methods": ("match: {methods: [GET, HEAD]}", "match: {methods: [GET]}"),
    "more_headers": ("match: {headers: {x: '1'}}", "match: {headers: {X: '1', y: '2'}}"),
    "present_header": ("match: {headers: {x: {present: true}}}", "match: {headers: {x: '1'}}"),
    "regex_takes_path": ("match: {path_regex: '/a/[0-9]+'}", "match: {path: /a/1}"),
    "one_of_several": ("match: {path: [/a, /b]}", "match: {path: /b}"),
}

REACHED = {
    "other_path": ("match: {path: /a}", "match: {path: /b}"),
    "no_whole_segment": ("match: {path_prefix: /a}", "match: {path_prefix: /ab}"),
    "path_before_prefix": ("match: {path: /a}", "match: {path_prefix: /a}"),
    "other_host": ("hosts: ['*.example.com']", "hosts: [example.com]"),
    "narrow_host_first": ("hosts: [a.example.com]", "hosts: ['*']"),
    "other_methods": ("match: {methods: [GET]}", "match: {methods: [GET, POST]}"),
    "all_methods": ("match: {methods: [GET]}", "match: {path_prefix: /}"),
    "header_missing": ("match: {headers: {x: '1'}}", "match: {path_prefix: /}"),
    "header_other": ("match: {headers: {x: '1'}}", "match: {headers: {x: '2'}}"),
    "query": ("match: {query: {a: '1'}}", "match: {path: /a}"),
    "one_of_two_paths": ("match: {path: /a}", "match: {path: [/a, /b]}"),
}


@pytest.mark.parametrize("name", SHADOWED)
def test_is_shadowed(name: str) -> None:
    """The later route is reported when the earlier one takes all of it."""
    assert [1] == _shadowed(*SHADOWED[name])


@pytest.mark.parametrize("name", REACHED)
def test_is_reached(name: str) -> None:
    """Nothing is reported that some request reaches."""
    assert [] == _shadowed(*REACHED[name])


def test_message_names_both() -> None:
    """The warning says which route is in the way and where it stands."""
    routes = f"routes:\n  - {{name: a, service: users, {AUTH}}}\n  - {{name: b, service: users, {AUTH}}}"

    assert ["routes[1]: route 'b' is never reached: 'a' (line 16) takes all of it"] == warnings(routes=routes)


def test_a_thousand_routes() -> None:
    """A large file is read and checked in well under a second (generous here: machines that test are busy)."""
    lines = [
        f"  - {{name: r{n}, hosts: [t{n}.example.com], match: {{path_prefix: /api/v1}}, service: users, {AUTH}}}"
        for n in range(1000)
    ]
    text = document(routes="routes:\n" + "\n".join(lines))
    start = time.process_time()
    result = loaded(text)

    assert () == result.faults
    assert time.process_time() - start < 2.0
