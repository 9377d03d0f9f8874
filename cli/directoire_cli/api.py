"""One instance of Directoire, as its API shows it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar

import aiohttp
import typer
from yarl import URL

Address = Annotated[
    str,
    typer.Option("--url", envvar="DIRECTOIRE_URL", help="where the gateway listens"),
]
Token = Annotated[
    str,
    typer.Option(
        "--token", envvar="DIRECTOIRE_TOKEN", help="an API token (make token)", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON, for scripts")]
DEFAULT_URL: Final = "http://127.0.0.1:8080"

T = TypeVar("T")


class Failed(Exception):
    """A sentence for whoever runs the command: what went wrong, and what to do."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Any
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content) if self.content else None


@dataclass(frozen=True, slots=True)
class Api:
    session: aiohttp.ClientSession
    url: str
    token: str

    def send(
        self, method: str, path: str, *, body: object = None, data: Any = None
    ) -> "AbstractAsyncContextManager[aiohttp.ClientResponse]":
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        url = URL(self.url.rstrip("/") + path, encoded=True)
        return self.session.request(method, url, json=body, data=data, headers=headers)

    async def ask(self, method: str, path: str, *, body: object = None, data: Any = None) -> Answer:
        """Raises Failed for everything that is no success."""
        try:
            async with self.send(method, path, body=body, data=data) as response:
                answer = Answer(response.status, response.headers, await response.read())
        except aiohttp.ClientConnectorError as error:
            raise Failed(
                f"Nothing answers at {self.url}. Is it running (make up)? Name it with --url."
            ) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Failed(f"{self.url} broke off: {error or type(error).__name__}") from error
        if answer.status >= 400:
            raise Failed(_told(answer))
        return answer

    async def refuse(self, response: aiohttp.ClientResponse) -> None:
        """Raises Failed with what the answer says."""
        raise Failed(_told(Answer(response.status, response.headers, await response.read())))


def _told(answer: Answer) -> str:
    advice = {
        401: "Give an API token with --token or DIRECTOIRE_TOKEN.",
        403: "The token's user may not do this, or there is no such table: directoire tables.",
        404: "This instance does not have it: is it older than this command?",
        413: "Import it in parts, or raise IMPORT_LIMIT and UPLOAD_LIMIT.",
        429: "Wait a moment.",
    }.get(answer.status, "")
    try:
        body = answer.json
    except ValueError:
        return f"{answer.status} {answer.content[:200].decode(errors='replace')} {advice}"
    errors = body.get("errors") or [body.get("error") or {"message": str(body)}]
    lines = [error["message"] for error in errors[:10]]
    if len(errors) > 10:
        lines.append(f"… and {len(errors) - 10} more kinds of faults")
    return "\n".join([*lines, advice]).strip()


def run(url: str, token: str, work: Callable[[Api], Awaitable[T]]) -> T:
    """Do it; a failure is one message and exit status 1."""

    async def inside() -> T:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=3600)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            return await work(Api(session, url, token))

    try:
        return asyncio.run(inside())
    except Failed as error:
        print(str(error), file=sys.stderr)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


async def pieces(
    read: Callable[[int], bytes], moved: Callable[[int], None]
) -> AsyncIterator[bytes]:
    """A file as it is sent; ``moved`` is told of every piece."""
    while piece := await asyncio.to_thread(read, 256 * 1024):
        moved(len(piece))
        yield piece
