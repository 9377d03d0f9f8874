"""``python -m schema_service``"""

from schema_service.app import make_app
from schema_service.settings import Settings
from shared.service import run
from shared.settings import load_settings


def main() -> None:
    settings = load_settings(Settings)
    run("schema-service", make_app(settings), settings)


if __name__ == "__main__":
    main()
