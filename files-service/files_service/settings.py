"""What files-service reads from its environment."""

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    store_url: str  # where the bytes are: file:///folder
    sweep_every: float = 60.0  # seconds between looks for bytes without a record
