"""``python -m auth_service``"""

from auth_service.app import make_app
from auth_service.settings import Settings
from shared.service import run
from shared.settings import load_settings


def main() -> None:
    settings = load_settings(Settings)
    run("auth-service", make_app(settings), settings)


if __name__ == "__main__":
    main()
