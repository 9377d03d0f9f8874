"""Who may read the bytes of a private file: whoever sees its record, or holds a signed address."""

import hmac
import time
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

from files_service.store import files
from shared.context import Context
from shared.database import Database
from shared.errors import Forbidden, InvalidRequest, NotFound
from shared.sql import raw

TABLE: Final = "directus_files"
_USUAL: Final = 3600  # seconds
_LONGEST: Final = 7 * 24 * 3600


class Access:
    """``public``: nothing is asked of a reader. The key is the same for all replicas."""

    def __init__(self, *, public: bool) -> None:
        self.public = public
        self._key: bytes | None = None

    async def signature(self, database: Database, name: str, expires: int) -> str:
        if self._key is None:
            self._key = await files.address_key(database)
        return hmac.new(self._key, f"{expires}\n{name}".encode(), sha256).hexdigest()

    async def sign(
        self, database: Database, context: Context, key: str, seconds: str
    ) -> dict[str, Any]:
        """``{url, expires}`` of a file the caller may see; ``seconds`` as the client wrote it.

        Raises Forbidden, NotFound, InvalidRequest.
        """
        lasts = _USUAL
        if seconds:
            if not (seconds.isascii() and seconds.isdigit() and 0 < int(seconds[:9]) <= _LONGEST):
                raise InvalidRequest(f"for is a number of seconds up to {_LONGEST}", field="for")
            lasts = int(seconds)
        if not context.rights.of(context.catalogue.tables[TABLE]).view:
            raise Forbidden
        file = None
        if key.isascii() and key.isdigit() and len(key) < 10:
            file = await files.stored_as(database, int(key))
        if file is None or not await may_read(database, context, file.id):
            raise NotFound(f"Unable to find the record in [{TABLE}] with ID [{key}]")
        expires = int(time.time()) + lasts
        signature = await self.signature(database, file.name, expires)
        query = f"?expires={expires}&signature={signature}"
        return {"url": f"/storage/uploads/{file.name}{query}", "expires": expires}


async def address_is_signed(
    access: Access, database: Database, name: str, query: Mapping[str, str]
) -> bool:
    """Whether an address carries a signature for this file that has not run out."""
    expires = query.get("expires", "")
    if not (expires.isascii() and expires.isdigit()) or int(expires[:12]) < time.time():
        return False
    wanted = await access.signature(database, name, int(expires[:12]))
    return hmac.compare_digest(wanted.encode(), query.get("signature", "").encode())


async def may_read(database: Database, context: Context, key: int) -> bool:
    rights = context.rights.of(context.catalogue.tables[TABLE])
    if not rights.view:
        return False
    visible = rights.view_condition(context.principal.user, raw("t"))
    return await files.is_visible(database, key, visible)
