"""What items-service reads from its environment."""

from pydantic import Field

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    imports: int = Field(default=4, ge=1, le=100)  # imports, and exports, at once
    import_limit: int = Field(default=5 * 1024**3, ge=1024)  # bytes of a file
    bulk_statement_timeout: float = Field(default=600.0, gt=0)  # seconds, of these alone
