"""Everything a service remembers of the database to answer a request: schema, rights, settings."""

from functools import partial

from shared.catalogue import Catalogue, load_catalogue
from shared.database import Database
from shared.remembered import Remembered
from shared.rights import Rights, load_rights
from shared.stamps import Stamps
from shared.system_settings import SystemSettings, load_system_settings


class Knowledge:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._catalogue = Remembered[Catalogue]("schema", database, load_catalogue)
        self._settings = Remembered[SystemSettings]("settings", database, load_system_settings)
        self._rights: dict[int, Remembered[Rights]] = {}

    async def catalogue(self, stamps: Stamps | None) -> Catalogue:
        return await self._catalogue.current(stamps)

    async def settings(self, stamps: Stamps | None) -> SystemSettings:
        return await self._settings.current(stamps)

    async def rights(self, group: int, stamps: Stamps | None) -> Rights:
        """``stamps`` must be those of a caller in this group: they tell its rights only."""
        remembered = self._rights.get(group)
        if remembered is None:
            load = partial(load_rights, group=group)
            remembered = self._rights[group] = Remembered[Rights]("rights", self._database, load)
        return await remembered.current(stamps)

    def forget_schema(self) -> None:
        """A statement met another table than the catalogue has: look again."""
        self._catalogue.forget()
