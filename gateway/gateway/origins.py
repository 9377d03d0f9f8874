"""Where a request comes from: the client's address behind proxies, and its page's origin."""

from collections.abc import Collection, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

from aiohttp import web


def address_of(request: web.BaseRequest, proxies: Sequence[IPv4Network | IPv6Network]) -> str:
    """The client's address: the last one before the proxies we trust."""
    peer = request.protocol.peername
    address = str(peer[0]) if isinstance(peer, tuple) else "local"
    if not proxies:
        return address
    forwarded = ",".join(request.headers.getall("X-Forwarded-For", ()))
    for hop in reversed(forwarded.split(",")):
        try:
            parsed = ip_address(address)
            following = str(ip_address(hop.strip()))
        except ValueError:
            return address
        if not any(parsed in proxy for proxy in proxies):
            return address
        address = following
    return address


def cors_lines(request: web.BaseRequest, allowed: Collection[str]) -> bytes:
    """The header lines that let a page of another origin read the answer, if it may.

    Source: contract, section 1: one origin, no credentials.
    """
    if not allowed:
        return b""
    if "*" in allowed:
        return b"Access-Control-Allow-Origin: *\r\n"
    origin = request.headers.get("Origin")
    if origin is None or origin not in allowed:
        return b"Vary: Origin\r\n"
    return b"Access-Control-Allow-Origin: %b\r\nVary: Origin\r\n" % origin.encode()
