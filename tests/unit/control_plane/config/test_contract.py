"""The whole example of the contract is one sound configuration, and means what it says."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from control_plane.config.effective import effective_routes
from control_plane.config.loading import Loaded, load
from control_plane.config.model.gateway import Gateway
from control_plane.config.model.routes import Authentication, Backend
from tests.unit.control_plane.config.documents import MemoryFiles

TEXT = (Path(__file__).parent / "contract.yaml").read_text()
ENVIRONMENT: Mapping[str, str] = {"BILLING_SECRET": "b" * 32}


def _loaded() -> Loaded:
    return load("gateway.yaml", MemoryFiles({"gateway.yaml": TEXT}), ENVIRONMENT, now=datetime(2026, 1, 1, tzinfo=UTC))


def _gateway() -> Gateway:
    gateway = _loaded().gateway

    assert gateway is not None

    return gateway


def test_has_no_fault() -> None:
    """Every key of the example is known and every value fits."""
    assert () == _loaded().faults


def test_warns_only_of_what_is_not_there_yet() -> None:
    """What the example asks for and this version does not do is named, nothing else but the folder without files."""
    others = [str(warning) for warning in _loaded().warnings if "not enforced yet" not in warning.message]

    assert ["gateway.yaml:4:11: include[0]: matches no file (services/*.yaml)"] == others


def test_durations_sizes_and_rates_are_values() -> None:
    """The key's type decides what a text means."""
    gateway = _gateway()

    assert timedelta(milliseconds=500) == gateway.callouts.ext_authz.timeout
    assert 20 == gateway.rate_limits["per-user"].burst
    assert timedelta(minutes=1) == gateway.rate_limits["per-user"].rate.period


def test_shorthands_are_opened() -> None:
    """One name of an algorithm, one more rate by attribute, one exact value."""
    gateway = _gateway()
    by = gateway.rate_limits["by-tier"].by

    assert "least_request" == gateway.services["users"].load_balancing.policy
    assert by is not None
    assert ("tier", 1000) == (by.attribute, by.rates["gold"].count)


def test_routes_get_their_defaults() -> None:
    """A key of defaults holds on every route that does not say otherwise."""
    users, login, health, docs = effective_routes(_gateway())

    assert Authentication(any_of=("jwt.meetinity",)) == users.auth
    assert (Backend(service="users", weight=90), Backend(service="users-next", weight=10)) == users.backends
    assert users.cache is not None
    assert "user" == users.cache.scope
    assert (None, (Backend(service="auth"),), timedelta(seconds=10)) == (login.auth, login.backends, login.timeout)
    assert ("direct_response", False) == (health.kind, health.access_log)
    assert ("redirect", None) == (docs.kind, docs.retry)
