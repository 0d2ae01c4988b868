"""Flags and variables."""

import pytest

from ext_proc.settings import parse, worker_arguments


def test_defaults_are_the_documented_ports() -> None:
    """And one worker."""
    settings = parse([], {})

    assert ("127.0.0.1:18000", ("127.0.0.1:9002",), ("127.0.0.1:9102",)) == (
        settings.xds_address,
        settings.addresses,
        settings.admin_addresses,
    )


def test_a_flag_wins_over_its_variable() -> None:
    """Every flag is a variable too."""
    environment = {"GATEWAY_XDS_ADDRESS": "a:1", "GATEWAY_PROC_WAIT": "2.5"}
    settings = parse(["--xds-address", "b:2"], environment)

    assert ("b:2", 2.5) == (settings.xds_address, settings.wait_s)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--address", "unix:/run/p.sock"], ("unix:/run/p-0.sock", "unix:/run/p-1.sock")),
        (["--address", "h:9"], ("h:9", "h:10")),
        (["--ports", "5,7"], ("127.0.0.1:5", "127.0.0.1:7")),
    ],
)
def test_each_worker_has_an_address_of_its_own(arguments: list[str], expected: tuple[str, ...]) -> None:
    """Envoy opens one connection for each of them."""
    assert expected == parse(["--workers", "2", *arguments], {}).addresses


def test_workers_divide_the_memory() -> None:
    """Each parses its flags back into its share."""
    settings = parse(["--workers", "2", "--cache-mib", "100"], {})
    workers = [parse(arguments, {}) for arguments in worker_arguments(settings)]

    assert [50, 50] == [worker.cache_mib for worker in workers]
    assert [("127.0.0.1:9002",), ("127.0.0.1:9003",)] == [worker.addresses for worker in workers]
    assert 2 == len({worker.node_id for worker in workers})


@pytest.mark.parametrize("arguments", [["--workers", "0"], ["--workers", "2", "--ports", "1"], ["--nonsense"]])
def test_bad_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With a reason on stderr."""
    with pytest.raises(SystemExit) as ended:
        parse(arguments, {})

    assert 2 == ended.value.code
    assert "error" in capsys.readouterr().err
