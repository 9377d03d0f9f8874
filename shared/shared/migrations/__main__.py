"""``python -m shared.migrations``: migrate DATABASE_URL (or the URL in DATABASE_URL_FILE)."""

import logging
import os
import sys
from pathlib import Path

from shared.migrations import migrate


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    file = os.environ.get("DATABASE_URL_FILE")
    url = Path(file).read_text(encoding="utf-8").strip() if file else os.environ.get("DATABASE_URL")
    if not url:
        sys.exit("DATABASE_URL (or DATABASE_URL_FILE, a file that holds it) is not set")
    migrate(url)


if __name__ == "__main__":
    main()
