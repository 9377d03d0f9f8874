"""The fixtures of all tests; they meet the real servers named in the environment."""

import gateway  # noqa: F401 - first, or pytest takes the folder of that name for the package

pytest_plugins = ["shared.testing"]
