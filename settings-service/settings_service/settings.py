"""What settings-service reads from its environment."""

from pydantic import Field, SecretStr, field_validator

from settings_service.operations.mails import MailServer
from shared.settings import ServiceSettings


class Settings(ServiceSettings):
    smtp_url: SecretStr = SecretStr("")  # smtp://user:password@host:port; empty: no mail is sent
    mail_from: str = "Directoire <directoire@localhost>"
    mail_interval: float = Field(default=1.0, gt=0)  # seconds between looks at an empty queue

    @field_validator("smtp_url")
    @classmethod
    def _is_a_mail_server(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            MailServer.from_url(value.get_secret_value())
        return value
