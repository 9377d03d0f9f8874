"""An S3 server of the tests' own: SeaweedFS in one process, gone with its folder."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Final, Self
from urllib.error import URLError
from urllib.request import urlopen

from local_cluster.errors import Refused
from shared.ports import claimed_port

if TYPE_CHECKING:
    from obstore.store import S3Store

BUCKET: Final = "directoire"
ACCESS_KEY: Final = "testing"
SECRET_KEY: Final = "testing-secret"  # noqa: S105 - of a server that lives as long as its test
_GRPC: Final = 10_000  # above each of its ports is the gRPC one
_PORTS: Final = ("master.port", "volume.port", "filer.port", "s3.port", "admin.port")


class ObjectStore:
    """Answers S3 at ``endpoint`` until closed. Starts in about two seconds."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="directoire-s3-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = ""
        self.port = 0

    @property
    def store_url(self) -> str:
        """For STORE_URL."""
        return f"s3://{BUCKET}/files?endpoint={self.endpoint}"

    def bucket(self) -> "S3Store":
        """A client of the bucket, which tries each request once."""
        from obstore.store import S3Store  # noqa: PLC0415 - see `_wait`

        return S3Store(
            BUCKET,
            endpoint=self.endpoint,
            region="us-east-1",
            access_key_id=ACCESS_KEY,
            secret_access_key=SECRET_KEY,
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )

    def start(self) -> None:
        ports = {name: claimed_port(twin=_GRPC) for name in _PORTS}
        self.port = ports["s3.port"]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        with (self._folder / "log").open("wb") as log:
            self._process = self._run(ports, log)
        self._wait(30.0)

    def _run(self, ports: Mapping[str, int], log: IO[bytes]) -> "subprocess.Popen[bytes]":
        weed = Path(sys.executable).with_name("weed")
        return subprocess.Popen(
            [
                str(weed), "mini", f"-dir={self._folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                f"-bucket={BUCKET}", "-admin.ui=false", "-webdav=false", "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                f"-s3.localSocket={self._folder}/s3.sock",
                f"-filer.localSocket={self._folder}/filer.sock",
                *(f"-{name}={port}" for name, port in ports.items()),
            ],
            cwd=self._folder,
            env={
                **os.environ,
                "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            },
            stdout=log,
            stderr=subprocess.STDOUT,
        )  # fmt: skip

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _wait(self, patience: float) -> None:
        """Until the bucket takes an object."""
        assert self._process is not None
        import obstore  # noqa: PLC0415 - who only asks for an address does not pay for it
        from obstore.exceptions import BaseError  # noqa: PLC0415

        limit = time.monotonic() + patience
        while time.monotonic() < limit and self._process.poll() is None:
            try:
                with urlopen(f"{self.endpoint}/healthz", timeout=1):  # noqa: S310 - our own
                    pass
                store = self.bucket()
                obstore.put(store, "ready", b"yes")
                obstore.delete(store, "ready")
            except (URLError, OSError, BaseError):
                time.sleep(0.1)
            else:
                return
        log = (self._folder / "log").read_text(errors="replace")[-2000:]
        self.stop()
        raise Refused(f"The S3 server did not start:\n{log}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
