"""The data folder of one instance: what lies where, and who may read it."""

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import stat
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from local_cluster.errors import Refused
from shared.ports import claim, claimed_port, is_free

NOBODY: Final = 65534  # the uid and gid the servers get when root starts them
PRIVATE_KEY: Final = "identity-private-key"  # the gateway's, PEM; a file in ``secrets``
PUBLIC_KEYS: Final = "identity-public-keys"  # what the services believe, a JWK set
_LONGEST_SOCKET: Final = 100  # bytes; the kernel takes 107
_FAR_PLACE: Final = Path("/var/lib/directoire")


class Home:
    """The paths of one instance; makes folders when they are first asked for."""

    def __init__(self, data: Path) -> None:
        self.data = data
        digest = hashlib.sha256(os.path.realpath(data).encode()).hexdigest()
        self.instance = digest[:12]
        self.state_file = data / "state.json"
        self.lock_file = data / "supervisor.lock"
        self.token_file = data / "secrets" / "admin-token"
        self.demo_mark = data / "demo.loaded"
        self.users_file = data / "users.json"
        self.logs = data / "logs"

    def prepare(self) -> None:
        """Make the folders. Only the owner reads logs, files and secrets."""
        try:
            self.data.mkdir(parents=True, exist_ok=True)
            self.data.chmod(0o711)  # the servers' user passes through to its own folder
            for folder in (self.logs, self.files):
                folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise Refused(
                f"The data folder {self.data} cannot be used ({error.strerror}):"
                " name another one in DIRECTOIRE_DATA."
            ) from error

    @property
    def files(self) -> Path:
        """Where files-service keeps uploads."""
        return self.data / "files"

    def servers(self) -> Path:
        """The folder of the servers' own data, owned by the user who runs them.

        Root's servers run as nobody. Where nobody cannot reach the data folder (a clone under
        /root), the folder lies in /var/lib and the data folder holds a link to it.
        """
        place = self.data / "servers"
        if place.exists():
            return place.resolve()
        place.unlink(missing_ok=True)  # a link to what is no more
        if os.geteuid() == 0 and not reachable(self.data):
            far = _FAR_PLACE / self.instance
            far.mkdir(parents=True, exist_ok=True)
            _FAR_PLACE.chmod(0o711)
            place.symlink_to(far)
            place = far
        else:
            place.mkdir()
        if os.geteuid() == 0:
            os.chown(place, NOBODY, NOBODY)
        place.chmod(0o700)
        return place

    def servers_user(self) -> int | None:
        """The uid the servers run as if it is not ours: the owner of their folder, under root.

        PostgreSQL refuses root. The owner is nobody, or who started this instance before.
        """
        owner = self.servers().stat().st_uid
        if os.geteuid() == 0:
            return owner
        if owner != os.geteuid():
            raise Refused(f"{self.data} was made by another user: name one in DIRECTOIRE_DATA.")
        return None

    def sockets(self) -> Path:
        """A folder for unix sockets: in the data folder if its path is short enough."""
        near = self.data / "sockets"
        if len(os.fsencode(near)) + 30 < _LONGEST_SOCKET:
            near.mkdir(mode=0o700, exist_ok=True)
            return near
        far = Path(tempfile.gettempdir()) / f"directoire-{os.getuid()}-{self.instance}"
        far.mkdir(mode=0o700, exist_ok=True)
        found = far.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise Refused(f"{far} belongs to somebody else: remove it, or set TMPDIR.")
        return far

    def secret(self, name: str, made: str | None = None) -> str:
        """A random text made once and kept with mode 600; ``made`` is kept instead if given."""
        path = self.secret_file(name)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        if made is None and path.exists():
            return path.read_text(encoding="utf-8")
        text = secrets.token_hex(24) if made is None else made
        write_private(path, text)
        return text

    def secret_file(self, name: str) -> Path:
        return self.data / "secrets" / name

    def has_secret(self, name: str) -> bool:
        return self.secret_file(name).exists()

    def knows(self, name: str, url: str) -> bool:
        """Whether the URL holds the password of our own server: it came from `make env`."""
        return self.has_secret(name) and self.secret(name) in url

    def read_state(self) -> dict[str, Any]:
        """What the supervisor last wrote, or nothing."""
        try:
            return json.loads(self.state_file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def write_state(self, state: dict[str, Any]) -> None:
        write_private(self.state_file, json.dumps(state))

    @contextmanager
    def supervising(self) -> Generator[None]:
        """Be the one supervisor of this data folder. Raises Refused when there is one."""
        with self.lock_file.open("a+", encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise Refused(f"Another supervisor runs on {self.data}.") from error
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    @contextmanager
    def starting(self) -> Generator[None]:
        """Wait for whoever else starts this instance just now."""
        with (self.data / "start.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def supervisor(self) -> int | None:
        """The pid of the living supervisor, or None. The lock tells, not the number in it."""
        try:
            with self.lock_file.open(encoding="utf-8") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except OSError:
                    return int(lock.read() or 0) or None
        except FileNotFoundError:
            pass
        return None


class Ports:
    """Free loopback ports, the same ones again on the next start while nobody took them."""

    def __init__(self, home: Home) -> None:
        self._file = home.data / "ports.json"
        self._taking = threading.Lock()
        try:
            self._ports: dict[str, int] = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            self._ports = {}

    def take(self, name: str) -> int:
        with self._taking:
            return self._take(name)

    def _take(self, name: str) -> int:
        port = self._ports.get(name)
        others = {port for other, port in self._ports.items() if other != name}
        if port is None or port in others or not (claim(port) and is_free("127.0.0.1", port)):
            port = self._ports[name] = claimed_port()
            write_private(self._file, json.dumps(self._ports))
        return port


def reachable(path: Path) -> bool:
    """Whether any user may pass through every folder above ``path``."""
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.resolve().parents)


def reachable_copy(tree: Path, place: Path) -> Path:
    """``tree`` itself, or a copy of it in ``place`` where root's servers cannot reach it."""
    if os.geteuid() != 0 or reachable(tree / "any"):
        return tree
    copy = place / tree.name
    if not copy.exists():
        half = place / f"{tree.name}.half"
        shutil.rmtree(half, ignore_errors=True)
        shutil.copytree(tree, half, symlinks=True)
        half.rename(copy)
    return copy


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step; only the owner may read it."""
    half = path.with_name(f"{path.name}.{os.getpid()}.half")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    half.replace(path)
