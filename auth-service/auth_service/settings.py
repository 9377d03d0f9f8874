"""What auth-service reads from its environment."""

from pydantic import Field

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    hashing_threads: int = Field(default=2, ge=1, le=32)  # sign-ins that are worked on at once
    tokens_per_user: int = Field(default=20, ge=1, le=1000)  # made by auth/request-token and kept
    hashes_per_second: float = Field(default=10, gt=0)  # of utils/hash, for one user
    access_life: int = Field(default=900, ge=1, le=86_400)  # seconds of auth/login's access tokens
    refresh_life: int = Field(default=604_800, ge=60)  # seconds a session lasts unused
