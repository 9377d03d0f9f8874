"""Whom a token stands for, as the gateway asks."""

from ipaddress import ip_address, ip_network
from typing import Final

import structlog

from auth_service.store import tokens
from shared.database import Database
from shared.errors import ApiError, Forbidden, NotFound
from shared.identity import Principal

log = structlog.get_logger(__name__)

_UNRESTRICTED: Final = frozenset({"", "0"})  # the old servers stored 0 for "no list"


async def resolve(
    database: Database, digest: bytes, address: str
) -> tuple[Principal, float | None]:
    """The active user, group and token behind the SHA-256 of a token, and its seconds to live.

    Raises NotFound for a token nobody has (any more), Forbidden for an address (text) that is not
    in the group's list.
    """
    found = await tokens.resolve(database, digest)
    if found is None:
        raise NotFound("There is no such token.")
    if not address_allowed(found.addresses, address):
        raise Forbidden("Requests from this address are not allowed for your group.")
    if found.unnoted:
        try:
            await tokens.note_use(database, found.token)
        except ApiError as error:  # a token is good whether or not its use can be noted
            log.warning("the use of a token was not noted", token=found.token, reason=str(error))
    principal = Principal(user=found.user, group=found.group, token=found.token, scope=found.scope)
    return principal, found.expires_in


def address_allowed(listed: str, address: str) -> bool:
    """``listed`` is a CSV of addresses and networks; an entry that is none admits nobody."""
    if listed.strip() in _UNRESTRICTED:
        return True
    try:
        caller = ip_address(address)
    except ValueError:
        return False
    mapped = getattr(caller, "ipv4_mapped", None)
    return any(_in(entry.strip(), mapped or caller) for entry in listed.split(","))


def _in(entry: str, caller: object) -> bool:
    try:
        return caller in ip_network(entry, strict=False)
    except ValueError:
        return False
