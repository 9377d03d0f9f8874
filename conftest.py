"""The fixtures of all tests; they meet the real servers named in the environment."""

from hypothesis import HealthCheck, settings

import gateway  # noqa: F401 - first, or pytest takes the folder of that name for the package

pytest_plugins = ["shared.testing"]

# A busy machine is no fault of the code: how fast values are made and tried is not what is tested.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")
