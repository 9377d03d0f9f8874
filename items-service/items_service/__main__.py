"""``python -m items_service``"""

from items_service.app import make_app
from items_service.settings import Settings
from shared.service import run
from shared.settings import load_settings


def main() -> None:
    settings = load_settings(Settings)
    run("items-service", make_app(settings), settings)


if __name__ == "__main__":
    main()
