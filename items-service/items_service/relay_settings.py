"""What the relay reads from its environment."""

from pydantic import Field

from shared.secret_settings import ServerUrl
from shared.settings import CommonSettings


class RelaySettings(CommonSettings):
    database_url: ServerUrl
    redis_url: ServerUrl
    redis_prefix: str = "directoire:"
    amqp_url: ServerUrl
    activity_exchange: str = Field(default="directoire.activity", min_length=1, max_length=200)
    activity_stream_age: str = Field(default="14D", pattern=r"^[0-9]+[YMDhms]$")
    lead_seconds: float = Field(default=1.5, gt=0.2)  # how long a dead leader is believed in
