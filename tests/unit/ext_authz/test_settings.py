"""Flags and variables."""

import pytest

from ext_authz.settings import parse, worker_arguments


def test_defaults() -> None:
    """Without flags it serves the documented ports."""
    settings = parse([], {})

    assert (settings.xds_address, settings.addresses, settings.admin_addresses, settings.share) == (
        "127.0.0.1:18000",
        ("127.0.0.1:9001",),
        ("127.0.0.1:9101",),
        1,
    )


def test_flag_wins_over_variable() -> None:
    """Each flag is a variable too; the flag wins."""
    settings = parse(["--gateway", "flag"], {"GATEWAY_NAME": "variable", "GATEWAY_AUTHZ_WORKERS": "2"})

    assert (settings.gateway, len(settings.addresses)) == ("flag", 2)


@pytest.mark.parametrize(
    ("arguments", "addresses"),
    [
        (["--workers", "2"], ("127.0.0.1:9001", "127.0.0.1:9002")),
        (["--workers", "2", "--ports", "9001, 9005"], ("127.0.0.1:9001", "127.0.0.1:9005")),
        (["--workers", "2", "--address", "unix:/run/authz.sock"], ("unix:/run/authz-0.sock", "unix:/run/authz-1.sock")),
        (["--workers", "2", "--address", "unix:/run.d/authz"], ("unix:/run.d/authz-0", "unix:/run.d/authz-1")),
        (["--workers", "2", "--address", "127.0.0.1:0"], ("127.0.0.1:0", "127.0.0.1:0")),
    ],
)
def test_addresses_of_workers(arguments: list[str], addresses: tuple[str, ...]) -> None:
    """Each worker has a socket or port of its own."""
    assert parse(arguments, {}).addresses == addresses


@pytest.mark.parametrize(
    "arguments",
    [
        ["--workers", "0"],
        ["--workers", "2", "--ports", "1"],
        ["--address", "x", "--workers", "2"],
        ["--log-level", "x"],
        ["--jwks-cooldown", "0"],
        ["--jwks-cooldown", "-1"],
        ["--jwks-cooldown", "nan"],
        ["--jwks-cooldown", "x"],
    ],
)
def test_nonsense(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Bad usage ends with status 2 and a line on stderr."""
    with pytest.raises(SystemExit) as caught:
        parse(arguments, {})

    assert caught.value.code == 2
    assert "error" in capsys.readouterr().err


def test_worker_arguments() -> None:
    """What a parent passes on, a worker reads back; the limits are divided among all workers."""
    arguments = ["--workers", "2", "--address", "unix:/run/a.sock", "--gateway", "g", "--node-id", "n"]
    parent = parse(arguments, {"GATEWAY_AUTHZ_JWKS_COOLDOWN": "2.5"})
    workers = [parse(arguments, {"GATEWAY_AUTHZ_WORKERS": "9"}) for arguments in worker_arguments(parent)]

    assert [worker.addresses for worker in workers] == [("unix:/run/a-0.sock",), ("unix:/run/a-1.sock",)]
    assert [worker.node_id for worker in workers] == ["n-0", "n-1"]
    assert {(worker.gateway, worker.share, worker.jwks_cooldown_s) for worker in workers} == {("g", 2, 2.5)}
