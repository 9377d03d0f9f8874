"""The two versions of the API on the wire."""

from enum import StrEnum


class ApiVersion(StrEnum):
    V1_0 = "1"
    V1_1 = "1.1"
