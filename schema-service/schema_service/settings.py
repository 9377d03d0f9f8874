"""What schema-service reads from its environment."""

from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    """Nothing of its own yet."""
