"""Uploads under fire: ``python -m prove.uploads`` (``make prove-uploads``).

Two gateways, three files-services. Clients send files by tus (tuspy, a published client) and by
multipart while random receiving processes are killed (SIGKILL) or paused (SIGSTOP) and woken. Every
tus upload must end by resuming, every digest must be right, and ``reconcile`` must find nothing
amiss. Before, one receiver is killed in the middle of an upload, which goes on where it was; after
it one is paused there and woken when another has finished. Then a full disk, a client that lies
about the length and one that stalls.
"""

import argparse
import asyncio
import io
import json
import os
import random
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import requests
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed

from local_cluster.cluster import Cluster
from prove.half_sent import HalfSent

REPLICAS: Final = ("files-service", "files-service-2", "files-service-3")
MEGABYTE: Final = 1024 * 1024
PART: Final = 8 * MEGABYTE  # PART_SIZE, as it is by default
T = TypeVar("T")
_PATIENCE: Final = 180.0  # seconds for one upload to get through
_IN_FLIGHT: Final = "directoire_upload_bytes_in_flight"


class Violated(Exception):
    """A promise that did not hold."""


@dataclass
class Tally:
    """What happened; shared by all threads."""

    digests: dict[str, str] = field(default_factory=dict[str, str])  # file name → SHA-256
    resumed: int = 0
    repeated: int = 0
    kills: int = 0
    pauses: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, **more: int) -> None:
        with self.lock:
            for name, number in more.items():
                setattr(self, name, getattr(self, name) + number)


@dataclass(frozen=True)
class Options:
    uploads: int
    smallest: int  # bytes
    largest: int
    clients: int
    every: tuple[float, float]  # seconds between two faults
    kills: int = 1  # with fewer nothing is proven; the first of them is no chance


class Field:
    """The cluster and who uploads to it."""

    def __init__(self, cluster: Cluster, options: Options) -> None:
        self.cluster = cluster
        self.options = options
        self.tally = Tally()
        self.headers = {"Authorization": f"Bearer {cluster.token}"}
        self.gateways = cluster.gateway_urls
        self._store = cluster.data / "files"

    def api(self, path: str) -> str:
        return f"{random.choice(self.gateways)}/api/1.1/{path}"

    # -- clients -----------------------------------------------------------------------------------

    def upload(self, number: int) -> None:
        """One file, until it is there."""
        generator = random.Random(number)
        size = generator.randint(self.options.smallest, self.options.largest)
        data = generator.randbytes(size)
        way = self._by_multipart if number % 4 == 3 else self._by_tus
        name = way(number, data)
        with self.tally.lock:
            self.tally.digests[name] = sha256(data).hexdigest()

    def _by_tus(self, number: int, data: bytes) -> str:
        limit = time.monotonic() + _PATIENCE
        uploader = None
        chunk = random.choice([3 * MEGABYTE, 7 * MEGABYTE, len(data)])
        while True:
            try:
                if uploader is None:
                    client = TusClient(self.api("files/tus"), headers=self.headers)
                    uploader = client.uploader(
                        file_stream=io.BytesIO(data),
                        chunk_size=chunk,
                        metadata={"filename": f"{number}.bin"},
                    )
                else:
                    parts = urlsplit(uploader.url or "")
                    uploader.url = random.choice(self.gateways) + parts.path
                    uploader.offset = uploader.get_offset()
                uploader.upload()
            except (TusCommunicationError, TusUploadFailed, requests.RequestException) as error:
                if time.monotonic() > limit:
                    raise Violated(f"upload {number} did not get through: {error}") from error
                if uploader is not None and uploader.url is None:
                    uploader = None  # it was not even begun
                self.tally.note(resumed=1)
                time.sleep(0.2)
            else:
                return self._name_of(uploader.url or "", limit)

    def _name_of(self, url: str, limit: float) -> str:
        """The name under which the finished upload is served."""
        path = urlsplit(url).path

        def ask() -> str:
            headers = self.headers | {"Tus-Resumable": "1.0.0"}
            head = requests.head(random.choice(self.gateways) + path, headers=headers, timeout=20)
            head.raise_for_status()
            if "Directus-File-Id" not in head.headers:
                raise Violated(f"all bytes are acknowledged and there is no file: {head.headers}")
            key = head.headers["Directus-File-Id"]
            answer = requests.get(self.api(f"files/{key}"), headers=self.headers, timeout=20)
            answer.raise_for_status()
            return answer.json()["data"]["name"]

        return _insisting(ask, limit)

    def _by_multipart(self, number: int, data: bytes) -> str:
        limit = time.monotonic() + _PATIENCE

        def send() -> str:
            sent = {"file": (f"{number}.bin", io.BytesIO(data))}
            answer = requests.post(self.api("files"), files=sent, headers=self.headers, timeout=60)
            if answer.status_code != 200:
                self.tally.note(repeated=1)
                answer.raise_for_status()
                raise requests.HTTPError(str(answer.status_code))
            return answer.json()["data"]["name"]

        return _insisting(send, limit)

    # -- faults ------------------------------------------------------------------------------------

    def disturb(self, over: threading.Event) -> None:
        """Kill or pause a process that may be receiving, at random moments, until it is over."""
        while not over.wait(random.uniform(*self.options.every)):
            name = random.choice(REPLICAS)
            pid = self.cluster.processes.get(name)
            if pid is None:
                continue
            try:
                if random.random() < 0.75:
                    os.kill(pid, signal.SIGKILL)
                    self.tally.note(kills=1)
                else:
                    os.kill(pid, signal.SIGSTOP)
                    over.wait(random.uniform(0.3, 2.0))
                    os.kill(pid, signal.SIGCONT)
                    self.tally.note(pauses=1)
            except ProcessLookupError:
                continue

    def kill_a_receiver(self) -> None:
        """In the middle of an upload, which then goes on where it was."""
        data = random.randbytes(3 * PART)
        path = self._begin(len(data))
        half = HalfSent(self.gateways[0], path, self.headers, data, PART + PART // 2)
        with closing(half):
            receiver = self._receiver(path)
            self.cluster.kill(receiver)
            self.tally.note(kills=1)
            if self._go_on(path, data) < PART:
                raise Violated("the part that was kept was lost with its receiver")
            self.tally.note(resumed=1)
        self._note(path, data)

    def wake_a_receiver(self) -> None:
        """It stands still in the middle of a part, another one finishes the upload, it wakes up.

        What it was sent is not what the others were: a byte of it in the file would be seen.
        """
        data = random.randbytes(3 * PART)
        path = self._begin(len(data))
        wrong = data[:PART] + data[: 2 * PART - MEGABYTE]
        half = HalfSent(self.gateways[0], path, self.headers, wrong, PART + PART // 2)
        with closing(half):
            receiver = self._receiver(path)
            pid = self.cluster.kill(receiver, signal.SIGSTOP)
            try:
                self._go_on(path, data)
                self._note(path, data)
            finally:
                os.kill(pid, signal.SIGCONT)
            self.tally.note(pauses=1)
            answer = half.finish()
        if b" 204 " in answer:
            raise Violated("who woke up after another took over was believed")
        key = path.rpartition("/")[2]
        _until(lambda: not [*self._store.rglob(f"{key}.*")], "the parts of a file are kept")
        found = self.reconcile()
        if found["bytes_without_record"] or found["records_without_bytes"]:
            raise Violated(f"who woke up late left something: {found}")

    def _begin(self, length: int) -> str:
        """The path of a new upload."""
        told = {"Upload-Length": str(length), "Tus-Resumable": "1.0.0"}
        told["Upload-Metadata"] = f"filename {b64encode(b'half.bin').decode()}"
        limit = time.monotonic() + _PATIENCE

        def post() -> str:
            answer = requests.post(self.api("files/tus"), headers=self.headers | told, timeout=20)
            answer.raise_for_status()
            return urlsplit(answer.headers["Location"]).path

        return _insisting(post, limit)

    def _receiver(self, path: str) -> str:
        """Who is in the middle of the second part; nobody else takes in anything."""

        def is_in_it(name: str) -> bool:
            url = f"http://127.0.0.1:{self.cluster.ports[name]}/metrics"
            text = requests.get(url, timeout=20).text
            found = [line for line in text.splitlines() if line.startswith(f"{_IN_FLIGHT} ")]
            return float(found[0].rpartition(" ")[2]) >= MEGABYTE

        found: list[str] = []

        def seen() -> bool:
            if self._offset(path) == PART:
                found[:] = filter(is_in_it, REPLICAS)
            return bool(found)

        _until(seen, "nobody receives an upload")
        return found[0]

    def _offset(self, path: str) -> int:
        headers = self.headers | {"Tus-Resumable": "1.0.0"}
        head = requests.head(random.choice(self.gateways) + path, headers=headers, timeout=5)
        head.raise_for_status()
        return int(head.headers["Upload-Offset"])

    def _go_on(self, path: str, data: bytes) -> int:
        """Send what is not there yet; where that began."""

        def patch() -> int:
            offset = self._offset(path)
            if offset == len(data):
                return offset
            told = {
                "Tus-Resumable": "1.0.0",
                "Upload-Offset": str(offset),
                "Content-Type": "application/offset+octet-stream",
            }
            url = random.choice(self.gateways) + path
            answer = requests.patch(url, data[offset:], headers=self.headers | told, timeout=60)
            answer.raise_for_status()
            return offset

        return _insisting(patch, time.monotonic() + _PATIENCE)

    def _note(self, path: str, data: bytes) -> None:
        name = self._name_of(path, time.monotonic() + _PATIENCE)
        with self.tally.lock:
            self.tally.digests[name] = sha256(data).hexdigest()

    # -- checks ------------------------------------------------------------------------------------

    def check_digests(self) -> int:
        """Every file that was acknowledged, and every other record too, is whole."""
        listed = self.all_files()
        names = {row["name"] for row in listed}
        missing = self.tally.digests.keys() - names
        if missing:
            raise Violated(f"acknowledged files are gone: {sorted(missing)[:5]}")
        for row in listed:
            digest, etag, size = self._download(row["url"])
            wanted = self.tally.digests.get(row["name"], etag)
            if (digest, etag, size) != (wanted, wanted, row["size"]):
                raise Violated(f"{row['name']} has other bytes than were sent")
        return len(listed)

    def all_files(self) -> list[dict[str, Any]]:
        answer = requests.get(
            self.api("files?limit=10000&columns=id,name,url,size"), headers=self.headers, timeout=30
        )
        answer.raise_for_status()
        return answer.json()["data"]

    def _download(self, url: str) -> tuple[str, str, int]:
        digest, size = sha256(), 0
        address = random.choice(self.gateways) + url
        with requests.get(address, stream=True, timeout=30) as answer:
            answer.raise_for_status()
            for chunk in answer.iter_content(MEGABYTE):
                digest.update(chunk)
                size += len(chunk)
            return digest.hexdigest(), answer.headers["ETag"].strip('"'), size

    def reconcile(self) -> dict[str, Any]:
        """Run the command as an operator would, with nothing under way: no grace."""
        told = {
            **os.environ,
            **self.cluster.urls,
            "IDENTITY_PUBLIC_KEYS": '{"keys": []}',
            "STORE_URL": self._store.as_uri(),
        }
        done = subprocess.run(
            [sys.executable, "-m", "files_service.reconcile", "-1"],
            env=told, capture_output=True, check=False, text=True,
        )  # fmt: skip
        if not done.stdout:
            raise Violated(f"reconcile failed: {done.stderr[-500:]}")
        return json.loads(done.stdout)

    def check_reconciled(self) -> dict[str, Any]:
        """The first run clears what the dead left; after it nothing is amiss."""
        first, second = self.reconcile(), self.reconcile()
        amiss = second["bytes_without_record"] + len(second["records_without_bytes"])
        if amiss or first["records_without_bytes"]:
            raise Violated(f"reconcile found {first}, then {second}")
        return first

    # -- a full disk, liars and sleepers -----------------------------------------------------------

    def fill_the_disk(self) -> None:
        """No file may grow beyond a megabyte: 503 and no record; then there is room again."""
        before = len(self.all_files())
        data = random.randbytes(4 * MEGABYTE)
        with self._small_disk():
            sent = {"file": ("x.bin", io.BytesIO(data))}
            answer = requests.post(self.api("files"), files=sent, headers=self.headers, timeout=30)
            if answer.status_code not in {503, 507} or answer.json()["success"] is not False:
                raise Violated(f"a full disk was answered by {answer.status_code}")
            if len(self.all_files()) != before:
                raise Violated("a full disk left a record")
        self.tally.digests[self._by_multipart(0, data)] = sha256(data).hexdigest()

    @contextmanager
    def _small_disk(self) -> Generator[None]:
        pids = [self.cluster.processes[name] for name in REPLICAS]
        for pid in pids:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (MEGABYTE, resource.RLIM_INFINITY))
        try:
            yield
        finally:
            for pid in pids:
                free = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                resource.prlimit(pid, resource.RLIMIT_FSIZE, free)

    def lie_and_stall(self) -> None:
        """Announce more than comes; send half and sleep. Nothing is recorded, others go on."""
        before = len(self.all_files())
        address = urlsplit(self.gateways[0])
        head = (
            "POST /api/1.1/files HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; "
            f"boundary=b\r\nContent-Length: {8 * MEGABYTE}\r\n"
            f"Authorization: {self.headers['Authorization']}\r\n\r\n"
            '--b\r\nContent-Disposition: form-data; name="f"; filename="x.bin"\r\n\r\n'
        ).encode()
        stalled = [socket.create_connection((address.hostname, address.port)) for _ in range(20)]
        try:
            for connection in stalled:
                connection.sendall(head + b"x" * MEGABYTE)
            stalled.pop().close()
            answer = requests.post(
                self.api("files"), json={"name": "a.txt", "data": "b25l"}, headers=self.headers,
                timeout=20,
            )  # fmt: skip
            answer.raise_for_status()
        finally:
            for connection in stalled:
                connection.close()
        limit = time.monotonic() + 20
        _insisting(lambda: self._expect_files(before + 1), limit)

    def _expect_files(self, count: int) -> None:
        found = len(self.all_files())
        if found != count:
            raise Violated(f"{found} files, not {count}")


def _until(holds: Callable[[], bool], otherwise: str) -> None:
    """Raises Violated with ``otherwise`` when it does not come to hold."""
    limit = time.monotonic() + _PATIENCE
    while not _insisting(holds, limit):
        if time.monotonic() > limit:
            raise Violated(otherwise)
        time.sleep(0.05)


def _insisting(work: Callable[[], T], limit: float) -> T:
    """Try until it works; connections break here on purpose."""
    while True:
        try:
            return work()
        except (requests.RequestException, KeyError) as error:
            if time.monotonic() > limit:
                raise Violated(f"it did not work for too long: {error}") from error
            time.sleep(0.2)


async def prove(
    options: Options,
    *,
    database_url: str | None = None,
    redis_url: str | None = None,
    amqp_url: str | None = None,
) -> str:
    """Run it all on a cluster of its own, with servers of its own where none are given.

    Returns what happened in a sentence. Raises Violated.
    """
    async with Cluster(
        replicas={"gateway": 2, "files-service": len(REPLICAS)},
        environment={"RATE_PER_ADDRESS": "100000", "RATE_PER_TOKEN": "100000"},
        database_url=database_url,
        redis_url=redis_url,
        amqp_url=amqp_url,
    ) as cluster:
        return await asyncio.to_thread(_run, Field(cluster, options))


def _run(field: Field) -> str:
    field.kill_a_receiver()
    over = threading.Event()
    trouble = threading.Thread(target=field.disturb, args=(over,))
    began = time.monotonic()
    trouble.start()
    try:
        with ThreadPoolExecutor(field.options.clients) as clients:
            list(clients.map(field.upload, range(field.options.uploads)))
    finally:
        over.set()
        trouble.join()
    seconds = time.monotonic() - began
    _wait_until_well(field)
    tally = field.tally
    if tally.kills < field.options.kills or not tally.resumed:
        raise Violated(f"{tally.kills} kills and {tally.resumed} resumed prove nothing")
    cleared = field.check_reconciled()
    field.wake_a_receiver()
    field.fill_the_disk()
    field.lie_and_stall()
    files = field.check_digests()
    field.check_reconciled()
    return (
        f"{field.options.uploads} uploads in {seconds:.0f} s, {tally.kills} kills, "
        f"{tally.pauses} pauses: {tally.resumed} resumed, {tally.repeated} repeated, {files} files "
        f"whole; reconcile cleared {cleared['cleared']} and {cleared['bytes_without_record']} left "
        "by the dead, and then found nothing amiss"
    )


def _wait_until_well(field: Field) -> None:
    limit = time.monotonic() + 60
    for _ in range(8):
        _insisting(field.all_files, limit)
    while set(REPLICAS) - field.cluster.processes.keys() and time.monotonic() < limit:
        time.sleep(0.1)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m prove.uploads")
    parser.add_argument("--uploads", type=int, default=200)
    parser.add_argument("--smallest", type=float, default=8, help="MB")
    parser.add_argument("--largest", type=float, default=64, help="MB")
    parser.add_argument("--clients", type=int, default=6)
    given = parser.parse_args()
    options = Options(
        given.uploads,
        int(given.smallest * MEGABYTE),
        int(given.largest * MEGABYTE),
        given.clients,
        (0.5, 3.0),
        max(1, given.uploads // 20),
    )
    try:
        print(asyncio.run(prove(options)))
    except Violated as error:
        sys.exit(f"violated: {error}")


if __name__ == "__main__":
    main()
