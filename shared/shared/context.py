"""What a request brings along: who asks, in which version, what is known of schema and rights."""

import msgspec

from shared.catalogue import Catalogue
from shared.identity import Principal
from shared.new_file import FileStore
from shared.preconditions import NONE, Precondition
from shared.rights import Rights
from shared.stamps import Stamps
from shared.system_settings import SystemSettings
from shared.versions import ApiVersion


class Actor(msgspec.Struct, frozen=True):
    """Who a change is recorded for. ``quiet`` marks the entries, it never leaves one out.

    ``seen`` are the versions that If-Match names, for whoever compares them; ``Changes`` refuses
    them where nobody has.
    """

    user: int
    request_id: str
    quiet: bool = False
    seen: tuple[str, ...] | None = None


class Context(msgspec.Struct, frozen=True):
    """One request, as the operations see it: no HTTP in it.

    ``stamps`` is None when no lease is alive: catalogue, rights and settings were then checked
    against PostgreSQL. A structure, as each request makes one: a frozen dataclass of as many fields
    costs five times as much.
    """

    principal: Principal
    version: ApiVersion
    request_id: str
    stamps: Stamps | None
    catalogue: Catalogue
    rights: Rights
    settings: SystemSettings
    actor: Actor
    precondition: Precondition = NONE
    files: FileStore | None = None  # where this service may store files for the caller
    strict: bool = False  # `Prefer: handling=strict`: unknown keys of a body are refused
