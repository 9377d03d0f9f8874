"""What files-service reads from its environment."""

from pydantic import Field, SecretStr

from shared.secret_settings import OptionalKey
from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """Sizes in bytes, times in seconds."""

    store_url: str  # file:///folder or s3://bucket/prefix?endpoint=…&region=…
    store_access_key: str = ""  # of an S3 store; without: where the SDKs look
    store_secret_key: OptionalKey = SecretStr("")
    sweep_every: float = 60.0
    public_files: bool = False  # readable without a token, as they were in Directus 6
    upload_limit: int = Field(default=5 * 1024 * 1024 * 1024, ge=1024)  # one file
    upload_count: int = Field(default=100, ge=1)  # files of one request
    upload_reserve: int = Field(default=64 * 1024 * 1024, ge=0)  # left free on a local store's disk
    resumable_life: float = Field(default=24 * 3600.0, gt=0)  # of an upload nobody continues
    part_size: int = Field(default=8 * 1024 * 1024, ge=64 * 1024)  # kept at once of a long PATCH
    pixel_limit: int = Field(default=50_000_000, ge=1)  # of a picture that is decoded
    thumbnail_workers: int = Field(default=1, ge=1, le=64)
