"""Reading, translating and admitting with a memory gives what it gives without, and costs what has changed."""

import json
from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.config.loading import Loaded, Memory, load
from control_plane.endpoints import Endpoint
from control_plane.resource_types import (
    AUTHZ_POLICY,
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    LISTENER,
    ROUTE_CONFIGURATION,
)
from control_plane.snapshot import Resource, Snapshot
from control_plane.translate import Translator, translate
from control_plane.validation.admission import Admission
from tests.unit.control_plane.config.documents import SECRET, MemoryFiles

Document = dict[str, object]
services = st.sampled_from(
    [
        {"endpoints": [{"address": "10.0.0.1", "port": 80}]},
        {"endpoints": [{"address": "10.0.0.1", "port": 80}], "circuit_breaker": {"max_retries": 3}},
        {"endpoints": [{"address": "10.0.0.2", "port": 80}], "protocol": "grpc"},
        {"kubernetes": {"namespace": "n", "service": "s", "port": "http"}, "load_balancing": {"ring_hash": {}}},
        {"dns": {"host": "users.example", "port": 80}, "outlier_detection": {"consecutive_5xx": 3}},
        {"kubernetes": {"namespace": "n", "service": "s", "port": "http"}, "connect_timeout": "3s"},
    ]
)
routes = st.fixed_dictionaries(
    {"match": st.sampled_from([{"path_prefix": "/a"}, {"path": "/a/b"}, {"path_prefix": "/a/b", "methods": ["GET"]}])},
    optional={
        "service": st.sampled_from(["users", "events", "orders"]),
        "direct_response": st.just({"status": 200, "body": "x"}),
        "timeout": st.sampled_from(["0s", "3s"]),
        "auth": st.sampled_from(["none", {"any_of": ["jwt.main"]}]),
        "cache": st.just({}),
        "rate_limits": st.just(["few"]),
        "hosts": st.sampled_from([["a.example"], ["*.example"]]),
        "retry": st.just({"attempts": 2, "on": ["503"], "budget": {"percent": 20}}),
        "deprecation": st.just({"since": "2026-01-01"}),
    },
)
changes = st.one_of(
    st.tuples(st.just("service"), st.sampled_from(["users", "events", "orders", "more"]), st.none() | services),
    st.tuples(st.just("route"), st.sampled_from(["one", "two", "three", "four"]), st.none() | routes),
    st.tuples(st.just("section"), st.just("defaults"), st.sampled_from([{"auth": "none"}, {"timeout": "2s"}, {}])),
    st.tuples(st.just("section"), st.just("name"), st.sampled_from(["shop", "other"])),
    st.tuples(st.just("endpoints"), st.sampled_from(["events", "more"]), st.integers(0, 3)),
)


def file(document: Document, named_services: Mapping[str, object], named_routes: Mapping[str, Document]) -> str:
    """In block style, one entry a line or several."""
    lines = [f"{key}: {json.dumps(value)}" for key, value in document.items()]
    lines += ["services:", *(f"  {name}: {json.dumps(value)}" for name, value in named_services.items())]
    lines.append("routes:")
    for name, route in named_routes.items():
        lines += [f"  - name: {name}", *(f"    {key}: {json.dumps(value)}" for key, value in route.items())]
    return "\n".join([*lines, ""])


def read(text: str, memory: Memory | None = None) -> Loaded:
    return load("gateway.yaml", MemoryFiles({"gateway.yaml": text}), {}, memory=memory)


def content(snapshot: Snapshot) -> dict[str, list[Resource]]:
    return {type_url: list(named.values()) for type_url, named in snapshot.resources.items() if named}


@settings(max_examples=25, deadline=None)
@given(st.lists(changes, max_size=6))
def test_any_edits_give_what_a_fresh_start_gives(edits: list[tuple[str, str, object]]) -> None:
    """Model, faults and warnings with their places, every byte of every resource, and what is withheld."""
    document: Document = {
        "version": 1,
        "name": "shop",
        "listeners": [{"name": "public", "port": 10000}],
        "auth": {"jwt": {"main": {"issuer": "https://issuer.test", "algorithms": ["HS256"], "secret": SECRET}}},
        "rate_limits": {"few": {"rate": "10/minute", "key": ["client_ip"]}},
        "defaults": {"auth": "none"},
    }
    first = {"endpoints": [{"address": "10.0.0.1", "port": 80}]}
    named_services: dict[str, object] = {"users": first, "events": first, "orders": first}
    named_routes: dict[str, Document] = {"one": {"match": {"path_prefix": "/"}, "service": "users"}}
    found: dict[str, tuple[Endpoint, ...]] = {}
    memory, translator, admission = Memory(), Translator(), Admission()
    served: Snapshot | None = None
    for kind, name, value in [("section", "name", "shop"), *edits]:
        if kind == "endpoints":
            found[name] = tuple(Endpoint(f"10.1.0.{number}", 80) for number in range(int(str(value))))
        else:
            target: dict[str, object] = {"service": named_services, "route": named_routes, "section": document}[kind]  # type: ignore[assignment]
            target.pop(name, None) if value is None else target.update({name: value})
        text = file(document, named_services, named_routes)
        loaded, fresh = read(text, memory), read(text)
        assert fresh == loaded
        if loaded.gateway is None or fresh.gateway is None:
            continue
        snapshot = translator.translate(loaded.gateway, found, loaded.materials)
        expected = translate(fresh.gateway, found, fresh.materials)
        assert content(expected) == content(snapshot)
        before, admitted = served, admission.admit(snapshot, served)
        served = admitted.snapshot
    again = Admission().admit(expected, before)  # its rules take long to make: only at the end
    assert content(again.snapshot) == content(admitted.snapshot)
    assert again.withheld == admitted.withheld


def test_what_has_not_changed_is_the_very_same() -> None:
    """One route and one service among others are edited: nothing else is made again."""
    document: Document = {"version": 1, "name": "shop", "listeners": [{"name": "public", "port": 1}]}
    document["defaults"] = {"auth": "none"}
    one: Document = {"endpoints": [{"address": "10.0.0.1", "port": 80}]}
    named_services: dict[str, object] = {"users": one, "events": one}
    named_routes: dict[str, Document] = {
        name: {"match": {"path_prefix": f"/{name}"}, "service": "users", "rate_limits": []} for name in ("a", "b", "c")
    }
    memory, translator = Memory(), Translator()

    def made() -> tuple[Loaded, Snapshot]:
        loaded = read(file(document, named_services, named_routes), memory)
        assert loaded.gateway is not None
        return loaded, translator.translate(loaded.gateway, {}, {})

    before, first = made()
    named_routes["b"] = {**named_routes["b"], "timeout": "3s"}
    named_services["events"] = {**one, "connect_timeout": "3s"}
    after, second = made()

    assert before.gateway is not None
    assert after.gateway is not None
    same = [x is y for x, y in zip(before.gateway.routes, after.gateway.routes, strict=True)]
    # Two sections were edited, so the file was read as a whole; an edit of one keeps the rest.
    assert [False] * 3 == same
    named_routes["b"] = {**named_routes["b"], "timeout": "4s"}
    third, _ = made()
    assert third.gateway is not None
    assert [True, False, True] == [x is y for x, y in zip(after.gateway.routes, third.gateway.routes, strict=True)]
    assert after.gateway.services["users"] is third.gateway.services["users"]
    assert {CLUSTER: {"events"}, ROUTE_CONFIGURATION: {"public"}} == second.changes_since(first)
    users = first.of_type(CLUSTER)["users"]
    assert users is second.of_type(CLUSTER)["users"]
    assert first.of_type(CLUSTER_LOAD_ASSIGNMENT)["users"] is second.of_type(CLUSTER_LOAD_ASSIGNMENT)["users"]
    assert first.of_type(LISTENER)["public"].version == second.of_type(LISTENER)["public"].version
    assert not first.of_type(AUTHZ_POLICY)
