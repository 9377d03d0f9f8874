"""What settings-service reads from its environment."""

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, field_validator

from shared.secret_settings import OptionalServerUrl
from shared.settings import ServiceSettings


@dataclass(frozen=True, slots=True)
class MailServer:
    """``smtp://user:password@host:port``; ``smtps://`` speaks TLS from the first byte."""

    host: str
    port: int
    tls: bool
    username: str | None
    password: str | None

    @classmethod
    def from_url(cls, url: str) -> "MailServer":
        """Raises ValueError."""
        parts = urlsplit(url)
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise ValueError("a mail server is given as smtp://host:port or smtps://host:port")
        tls = parts.scheme == "smtps"
        return cls(
            host=parts.hostname,
            port=parts.port or (465 if tls else 25),
            tls=tls,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )


class Settings(ServiceSettings):
    smtp_url: OptionalServerUrl = SecretStr("")  # smtp://user:password@host:port; or no mail
    mail_from: str = "Directoire <directoire@localhost>"
    mail_interval: float = Field(default=1.0, gt=0)  # seconds between looks at an empty queue

    @field_validator("smtp_url")
    @classmethod
    def _is_a_mail_server(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            MailServer.from_url(value.get_secret_value())
        return value
