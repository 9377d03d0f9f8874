"""What items-service reads from its environment."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    files_urls: Annotated[tuple[str, ...], NoDecode] = ()  # none: rows take no files
    imports: int = Field(default=4, ge=1, le=100)  # imports, and exports, at once
    import_limit: int = Field(default=5 * 1024**3, ge=1024)  # bytes of a file
    bulk_statement_timeout: float = Field(default=600.0, gt=0)  # seconds, of these alone

    @field_validator("files_urls", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value
