"""Every golden case: what it becomes, and whether Envoy and a second decoder take it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from envoy.config.core.v3 import base_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2

from control_plane import resource_types
from control_plane.config.effective import effective_routes
from control_plane.snapshot import Resource
from control_plane.translate import names, translate
from control_plane.translate.bootstrap import BootstrapSettings
from control_plane.translate.plain import from_plain, message_named, to_plain
from control_plane.translate.static import rendered_static
from tests.golden.cases import CASES, Case, cases
from tests.golden.second_decoder import compared, differences

ALL = tuple(cases())
CASES_BY_NAME = {case.name: case for case in ALL}
each_case = pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)


def _resources(case: Case) -> Iterator[Resource]:
    for by_name in case.snapshot.resources.values():
        yield from by_name.values()


@each_case
def test_rendering_is_as_expected(case: Case) -> None:
    """A case becomes exactly what stands in its folder (`make golden` rewrites it)."""
    actual = case.expected_files()
    on_disk = {path: path.read_text() for path in (case.folder / "expected").glob("*")}

    assert {path.name: yaml.safe_load(text) for path, text in on_disk.items()} == {
        path.name: yaml.safe_load(text) for path, text in actual.items()
    }
    assert on_disk == actual


def test_no_expected_file_is_stale() -> None:
    """Every folder of cases/ is a case."""
    assert {folder.name for folder in CASES.iterdir()} == {case.name for case in ALL}


@each_case
@pytest.mark.envoy
def test_envoy_accepts(case: Case, envoy_binary: str, tmp_path: Path) -> None:
    """Envoy takes the whole snapshot of a case as a static bootstrap."""
    settings = BootstrapSettings(name="golden", node_id="golden", xds_host="127.0.0.1", xds_port=1)
    bootstrap = tmp_path / "envoy.pb"
    bootstrap.write_bytes(rendered_static(case.snapshot, settings).SerializeToString())

    done = subprocess.run(
        [envoy_binary, "--mode", "validate", "-c", bootstrap, "--log-level", "warning", "--disable-hot-restart"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, "") == (done.returncode, _without_verdict(done.stdout + done.stderr))


def _without_verdict(output: str) -> str:
    """What Envoy said besides "configuration OK": warnings about deprecated fields are failures, too."""
    return "\n".join(line for line in output.splitlines() if line and not line.endswith("OK"))


@each_case
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the package itself, against pydantic and Envoy's API
def test_a_second_decoder_reads_the_same(case: Case) -> None:
    """Every field of every resource for Envoy is read alike by envoy-data-plane, down to the innermost Any."""
    for resource in _resources(case):
        full_name = resource.type_url.rpartition("/")[2]
        if not full_name.startswith("envoy."):
            continue  # our own policies: envoy-data-plane has only Envoy's types

        assert [] == differences(resource.body, full_name)


@each_case
def test_plain_form_loses_nothing(case: Case) -> None:
    """A resource as JSON values and back has the same bytes."""
    for resource in _resources(case):
        full_name = resource.type_url.rpartition("/")[2]
        message = message_named(full_name)
        message.MergeFromString(resource.body)

        again = from_plain(to_plain(message, show_secrets=True), message_named(full_name))

        assert resource.body == again.SerializeToString(deterministic=True)


@each_case
def test_every_route_is_checked_or_public(case: Case) -> None:
    """A route asks ext_authz under a policy that exists, unless it is public by gateway.yaml or for preflights."""
    policies = case.snapshot.of_type(resource_types.AUTHZ_POLICY)
    public = {route.name for route in effective_routes(case.gateway) if route.auth is None}
    redirecting = {listener.name for listener in case.gateway.listeners if listener.redirect is not None}

    for resource in case.snapshot.of_type(resource_types.ROUTE_CONFIGURATION).values():
        configuration = route_pb2.RouteConfiguration.FromString(resource.body)
        for host in configuration.virtual_hosts if configuration.name not in redirecting else ():
            for route in host.routes:
                policy = _policy(route)
                if policy is None:
                    assert route.name in public or _is_preflight(route)
                else:
                    assert policy in policies


def _policy(route: route_components_pb2.Route) -> str | None:
    """The policy that exactly one ext_authz filter asks for; None if all are off."""
    asked = []
    for filter_name in (names.EXT_AUTHZ_FILTER, names.EXT_AUTHZ_OTHER_MODE_FILTER):
        if filter_name not in route.typed_per_filter_config:
            assert filter_name != names.EXT_AUTHZ_FILTER, f"{route.name} says nothing and would be denied"
            continue
        per_route = ext_authz_pb2.ExtAuthzPerRoute.FromString(route.typed_per_filter_config[filter_name].value)
        if not per_route.disabled:
            asked.append(per_route.check_settings.context_extensions[names.POLICY_EXTENSION])
    assert len(asked) <= 1
    return asked[0] if asked else None


def _is_preflight(route: route_components_pb2.Route) -> bool:
    matched = {header.name for header in route.match.headers}
    return {":method", "origin", "access-control-request-method"} <= matched and not route.route.cluster


@each_case
def test_equal_input_has_equal_bytes(case: Case) -> None:
    """Translation depends on nothing but its input."""
    again = translate(case.gateway, dict(reversed(list(case.endpoints.items()))), case.loaded.materials)

    assert case.snapshot == again


def test_bytes_do_not_depend_on_the_hash_seed() -> None:
    """Processes with different PYTHONHASHSEED (sets iterate differently) make the same versions."""
    program = (
        "from tests.golden.cases import cases\n"
        "for case in cases():\n"
        "    for named in case.snapshot.resources.values():\n"
        "        for resource in named.values(): print(case.name, resource.name, resource.version)\n"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "4242")
    }

    assert len(outputs) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_second_decoder_would_notice() -> None:
    """A resource whose bytes say something else than our decoder reads is told with the path of the difference."""
    ours = CASES_BY_NAME["compression"].snapshot.of_type(resource_types.LISTENER)["public"]
    listener = listener_pb2.Listener.FromString(ours.body)
    listener.traffic_direction = base_pb2.OUTBOUND

    assert [] == differences(ours.body, "envoy.config.listener.v3.Listener")
    assert ["envoy.config.listener.v3.Listener.traffic_direction"] == [
        told.partition(":")[0] for told in compared(listener, ours.body)
    ]
