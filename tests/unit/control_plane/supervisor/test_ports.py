"""Who wants which port."""

import socket

from control_plane.supervisor.listening import taken
from control_plane.supervisor.ports import Binding, Ports, clashes, demo_ports, own_bindings


def test_the_default_ports_do_not_clash() -> None:
    """With the demo, all seventeen of them."""
    assert [] == clashes([Binding("listener public", "0.0.0.0", 10000), *own_bindings(Ports(), demo=True)])


def test_a_listener_on_one_of_our_ports_is_told_by_name_and_number() -> None:
    """A wildcard address overlaps loopback."""
    bindings = [Binding("listener public", "0.0.0.0", 9901), *own_bindings(Ports(), demo=False)]

    assert ["port 9901 is wanted by listener public and by Envoy admin"] == clashes(bindings)


def test_one_port_on_two_addresses_is_no_clash() -> None:
    """Loopback and an address of the network are two."""
    assert [] == clashes([Binding("a", "127.0.0.1", 80), Binding("b", "10.0.0.1", 80)])


def test_a_taken_port_is_told_by_name_and_number() -> None:
    """One line for the operator, before anything starts."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        told = taken([Binding("ext_authz", "127.0.0.1", port)])

    assert [f"port {port} (ext_authz) is taken by another process"] == told
    assert [] == taken([Binding("ext_authz", "127.0.0.1", port)])


def test_an_address_of_another_machine_is_refused() -> None:
    """192.0.2.0/24 is for documentation; no machine has it."""
    assert ["port 8080 (listener public) cannot be used: 192.0.2.1 is no address of this machine"] == taken(
        [Binding("listener public", "192.0.2.1", 8080)]
    )


def test_the_demo_has_consecutive_ports() -> None:
    """From 8101 on, as the contract says."""
    assert list(range(8101, 8107)) == list(demo_ports(8101).values())
