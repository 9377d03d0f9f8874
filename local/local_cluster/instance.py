"""An instance seen from outside: is it running, start it, stop it, what are its processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from local_cluster.errors import Refused
from local_cluster.home import Home
from local_cluster.processes import MARK, clear_away, send, started_at
from local_cluster.settings import Settings
from local_cluster.supervisor import recorded
from shared.ports import is_free

_START_PATIENCE: Final = 180.0  # seconds; a first start may fetch RabbitMQ's packages
_STOP_PATIENCE: Final = 45.0

Watch = Callable[[Mapping[str, Any]], None]  # is shown the state again and again


class Instance:
    """The cluster of one data folder."""

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str] = os.environ,
        *,
        ends_with_us: bool = False,
    ) -> None:
        """``ends_with_us``: the cluster stops when this process is gone, however it went."""
        self._ends_with_us = ends_with_us
        self.settings = settings
        self.home = Home(settings.data)
        self._environment = environment

    def state(self) -> dict[str, Any]:
        """What the supervisor last said; empty when none runs."""
        return self.home.read_state() if self.home.supervisor() is not None else {}

    @property
    def base_url(self) -> str:
        state = self.home.read_state()
        host = state.get("host", self.settings.host)
        shown = "127.0.0.1" if host in {"0.0.0.0", "::"} else host  # noqa: S104 - no binding
        return f"http://{shown}:{state.get('port', self.settings.port)}"

    def token(self) -> str:
        """The administrator's API token. Raises Refused before the first start."""
        try:
            return self.home.token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise Refused("There is no token yet: start the cluster by `make up`.") from error

    def start(self, watch: Watch = lambda _: None) -> bool:
        """Start, and return when all is healthy; False when it was running already.

        Raises Refused with the reason when it cannot start; nothing is left running then.
        """
        self.home.prepare()
        with self.home.starting():
            if self.state().get("phase") == "ready":
                return False
            found = self.home.supervisor() is not None
            try:
                if not found:
                    self._spawn_supervisor()
                self._await_ready(watch)
            except BaseException:
                if not found:
                    self.stop()
                raise
            return not found

    def _spawn_supervisor(self) -> None:
        settings = self.settings
        self._forget_supervisor()  # one that was killed
        clear_away(self.home.instance, recorded(self.home.read_state()))
        self.home.state_file.unlink(missing_ok=True)
        if not is_free(settings.host, settings.port):
            raise Refused(
                f"Port {settings.port} is taken by another program:"
                " choose one, for example DIRECTOIRE_PORT=8081 make up."
            )
        log = self.home.logs / "supervisor.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "local_cluster", "supervise"],
                env={
                    **self._environment,
                    "DIRECTOIRE_DATA": str(settings.data),
                    "DIRECTOIRE_ENDS_WITH_INPUT": "1" if self._ends_with_us else "",
                    MARK: f"{self.home.instance}/supervisor",
                },
                stdin=subprocess.PIPE if self._ends_with_us else subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._supervisor = process

    def _await_ready(self, watch: Watch) -> None:
        until = time.monotonic() + _START_PATIENCE
        while time.monotonic() < until:
            state = self.home.read_state()
            watch(state)
            if state.get("phase") == "ready":
                return
            if state.get("phase") == "failed":
                raise Refused(state["message"])
            if self._is_gone():
                log = self.home.logs / "supervisor.log"
                raise Refused(f"The supervisor ended; {log} says why:\n{_tail(log)}")
            time.sleep(0.05)
        waiting = [
            process["name"]
            for process in self.home.read_state().get("processes", [])
            if process["state"] != "ready"
        ]
        raise Refused(
            f"Not healthy after {_START_PATIENCE:.0f} s: {', '.join(waiting) or 'the gateway'};"
            f" see {self.home.logs}."
        )

    _supervisor: "subprocess.Popen[bytes] | None" = None

    def _is_gone(self) -> bool:
        if self._supervisor is not None:
            return self._supervisor.poll() is not None
        return self.home.supervisor() is None

    def stop(self) -> bool:
        """Leave no process of this instance; False when there was none."""
        if not self.settings.data.exists():
            return False
        pid = self.home.supervisor()
        state = self.home.read_state()
        if pid is not None:
            send(pid, signal.SIGTERM)
            self._await_end(pid)
        left = clear_away(self.home.instance, recorded(state))
        self.home.state_file.unlink(missing_ok=True)
        self._forget_supervisor()
        return pid is not None or left > 0

    def _forget_supervisor(self) -> None:
        if self._supervisor is not None:
            if self._supervisor.stdin is not None:
                self._supervisor.stdin.close()
            self._supervisor.wait()
            self._supervisor = None

    def _await_end(self, pid: int) -> None:
        until = time.monotonic() + _STOP_PATIENCE
        while self.home.supervisor() is not None:
            if self._supervisor is not None:
                self._supervisor.poll()
            if time.monotonic() > until:
                send(pid, signal.SIGKILL)
            time.sleep(0.05)

    def processes(self) -> dict[str, int]:
        """Name to pid of what runs now."""
        state = self.state()
        running = {
            process["name"]: process["pid"]
            for process in state.get("processes", [])
            if process["pid"] is not None and started_at(process["pid"]) == process["started"]
        }
        return {"supervisor": state["pid"], **running} if state else {}


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
