"""IP addresses and CIDR rules, IPv4-mapped IPv6 read as the IPv4 that it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from policy.errors import PolicyError

Address = IPv4Address | IPv6Address

_MAPPED = IPv6Network("::ffff:0:0/96")
_NAT64 = IPv6Network("64:ff9b::/96")
"""RFC 6052: the last 32 bits are the IPv4 address that is meant."""
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
"""RFC 8215: IPv4 addresses inside a network."""


def parse_address(text: str) -> Address | None:
    """A bare address literal; None for anything else (a port, a name, `unknown`, a pipe). A zone is dropped."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def bucket_text(address: Address) -> str:
    """What one client is for a limit: an IPv4 address, or the /64 that one IPv6 subscriber is usually given."""
    if isinstance(address, IPv4Address):
        return str(address)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


def is_public(address: Address) -> bool:
    """Whether it is a host of the internet: neither inside a private network nor a way around to one."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local or address in _LOCAL_NAT64:
            return False
    return address.is_global and not address.is_multicast


@dataclass(frozen=True, slots=True)
class NetworkSet:
    """Networks by prefix length: looking an address up takes one step for each length in use, however many networks."""

    v4: tuple[tuple[int, frozenset[int]], ...]
    """(bits to drop, the networks' remaining bits)"""
    v6: tuple[tuple[int, frozenset[int]], ...]

    def __contains__(self, address: Address) -> bool:
        number = int(address)
        lengths = self.v4 if isinstance(address, IPv4Address) else self.v6
        return any(number >> shift in networks for shift, networks in lengths)

    def __bool__(self) -> bool:
        return bool(self.v4 or self.v6)


def network_set(texts: Iterable[str]) -> NetworkSet:
    """Raises PolicyError for a text that is neither an address nor a network."""
    by_version: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
    for text in texts:
        network = _network(text)
        shift = network.max_prefixlen - network.prefixlen
        by_version[network.version].setdefault(shift, set()).add(int(network.network_address) >> shift)
    return NetworkSet(_by_length(by_version[4]), _by_length(by_version[6]))


def _by_length(lengths: dict[int, set[int]]) -> tuple[tuple[int, frozenset[int]], ...]:
    return tuple((shift, frozenset(networks)) for shift, networks in sorted(lengths.items()))


def _network(text: str) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise PolicyError(f"{text!r} is not a network (10.0.0.0/8, 2001:db8::/32)") from None
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        return IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


@dataclass(frozen=True, slots=True)
class IpRules:
    """deny wins; an empty allow lets everybody pass who is not denied."""

    allow: NetworkSet
    deny: NetworkSet

    def admits(self, address: Address) -> bool:
        return address not in self.deny and (not self.allow or address in self.allow)
