"""What auth-service reads from its environment."""

from pydantic import Field

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    hashing_threads: int = Field(default=2, ge=1, le=32)  # sign-ins that are worked on at once
    tokens_per_user: int = Field(default=20, ge=1, le=1000)  # made by auth/request-token and kept
    hashes_per_second: float = Field(default=10, gt=0)  # of utils/hash, for one user
