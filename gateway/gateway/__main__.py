"""``python -m gateway``"""

import uvloop

from gateway.app import serve
from gateway.settings import Settings
from shared import failpoints
from shared.collector import collect_seldom
from shared.logs import set_up_logs
from shared.settings import load_settings


def main() -> None:
    settings = load_settings(Settings)
    set_up_logs("gateway", settings.log_level)
    failpoints.arm(settings.failpoints, allowed=settings.failpoints_allowed)
    collect_seldom()
    uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
