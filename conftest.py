"""The fixtures of all tests; they meet the real servers named in the environment."""

pytest_plugins = ["shared.testing"]
