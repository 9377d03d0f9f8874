"""What is one client's when its address is counted."""

from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

_OF_ONE: Final = 64  # bits of an IPv6 address that name a network; the rest a client chooses itself


@lru_cache(maxsize=4096)
def place_of(address: str) -> str:
    """An IPv4 address as it is; for an IPv6 address its /64. What is no address stays as it is.

    Source: RFC 4291 2.5.1 (who has one address of a /64 has all of them), RFC 8981.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    spare = 128 - _OF_ONE
    return str(IPv6Network((int(parsed) >> spare << spare, _OF_ONE)))
