"""Imports and exports in the background: taken by whichever replica has room, once each.

A job's claim is renewed while it is worked on. Where its process dies, the claim runs out and
another begins again: what an import has stored is committed together with the job's end, so no row
is stored twice.
"""

import asyncio
import csv
import io
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import structlog

from items_service.operations.export_query import plan_export
from items_service.operations.exporting import FORMATS, Export, export_rows, harmless
from items_service.operations.importing import ImportFailed, Progress, import_file
from items_service.store import jobs
from items_service.store.jobs import Job
from shared import failpoints
from shared.changes import Changes
from shared.context import Actor, Context
from shared.database import Database, Joined
from shared.errors import ApiError, Forbidden, NotFound
from shared.identity import Principal
from shared.knowledge import Knowledge
from shared.versions import ApiVersion

log = structlog.get_logger(__name__)

_LOOKS_EVERY: Final = 1.0  # seconds
_RENEWS_EVERY: Final = 1.0
_CLEARS_EVERY: Final = 3600.0


class _Lost(Exception):
    """Another has the job, or it was cancelled: nothing of ours may be kept."""


@dataclass(slots=True)
class _Done:
    """How far a job is: the bytes of its file, and the rows that its work has counted."""

    work: Progress | Export
    bytes: int = 0

    @property
    def rows(self) -> int:
        return self.work.rows


async def begin_import(
    changes: Changes, context: Context, table: str, form: str, chunks: AsyncIterator[bytes],
    *, dry_run: bool,
) -> str:  # fmt: skip
    """Keep the file; the id of the job that will store its rows."""
    database, id_ = changes.database, str(uuid4())
    user = context.principal.user
    arguments = {"format": form, "dry_run": dry_run}
    await jobs.create(database, id_, "import", table, user, arguments=arguments, state="uploading")
    try:
        size = await jobs.write_parts(database, id_, chunks)
        await changes.join()
        await jobs.uploaded(database, id_, size)
    except BaseException:
        with suppress(ApiError):
            await jobs.cancel(database, id_)
        raise
    return id_


async def begin_export(
    changes: Changes, context: Context, table: str, arguments: Mapping[str, Any]
) -> str:
    id_ = str(uuid4())
    await changes.join()
    await jobs.create(
        changes.database, id_, "export", table, context.principal.user, arguments=arguments,
        state="waiting",
    )  # fmt: skip
    return id_


async def get_job(changes: Changes, context: Context, id_: str) -> dict[str, Any]:
    """Raises NotFound, for other people's jobs too."""
    found = await jobs.shown(changes.database, id_)
    if found is None or (
        found["user_id"] != context.principal.user and not context.principal.is_admin
    ):
        raise NotFound("There is no such job.")
    seconds = found["seconds"]
    found["rows_per_second"] = round(found["rows"] / seconds, 1) if seconds else None
    left = None
    if found["state"] == "running" and found["size"] and found["bytes"] and seconds:
        left = round(seconds * (found["size"] - found["bytes"]) / found["bytes"], 1)
    found["seconds_remaining"] = left
    found["faults"] = len(found["faults"] or [])
    return found


async def list_jobs(changes: Changes, context: Context) -> list[dict[str, Any]]:
    return await jobs.listed(changes.database, context.principal.user)


async def rejects(changes: Changes, context: Context, id_: str) -> str:
    """The rows that kept an import from being made, as CSV."""
    await get_job(changes, context, id_)
    found = await jobs.shown(changes.database, id_)
    faults: list[dict[str, Any]] = (found or {}).get("faults") or []
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["row", "field", "code", "message"])
    for fault in faults:
        told = (fault["field"] or "", fault["code"], fault["message"])
        writer.writerow([fault["row"], *map(harmless, told)])
    return out.getvalue()


async def cancel_job(changes: Changes, context: Context, id_: str) -> None:
    await get_job(changes, context, id_)
    await changes.join()
    await jobs.cancel(changes.database, id_)


class JobRunner:
    """Works on jobs, a few at a time."""

    def __init__(
        self, changes: Changes, parts: Database, knowledge: Knowledge, places: int
    ) -> None:
        """``parts`` reads files beside the transaction that their rows go into."""
        self._changes = changes
        self._parts = parts
        self._database = changes.database
        self._knowledge = knowledge
        self._places = asyncio.Semaphore(places)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until cancelled; the jobs in work are then left to others."""
        cleared = -_CLEARS_EVERY
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    if loop.time() - cleared > _CLEARS_EVERY:
                        await jobs.clear(self._database)
                        cleared = loop.time()
                    took = await self._take()
                except ApiError as error:
                    log.warning("no jobs can be taken", reason=error.message)
                    took = False
                if not took:
                    await asyncio.sleep(_LOOKS_EVERY)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take(self) -> bool:
        await self._places.acquire()
        job = None
        try:
            job = await jobs.take(self._database, str(uuid4()))
        finally:
            if job is None:
                self._places.release()
        if job is None:
            return False
        task = asyncio.create_task(self._work(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _task: self._places.release())
        return True

    async def _work(self, job: Job) -> None:
        done = _Done(Progress() if job.kind == "import" else Export())
        work = asyncio.create_task(self._do(job, done))
        renewing = asyncio.create_task(self._renew(job, done, work))
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            with suppress(ApiError):
                await jobs.release(self._database, job)
            raise
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
        with suppress(asyncio.CancelledError, _Lost, ApiError):
            work.result()

    async def _renew(self, job: Job, done: _Done, work: "asyncio.Task[None]") -> None:
        while True:
            await asyncio.sleep(_RENEWS_EVERY)
            with suppress(ApiError):
                if not await jobs.renew(self._database, job, done.rows, done.bytes):
                    work.cancel()
                    return

    async def _do(self, job: Job, done: _Done) -> None:
        try:
            context = await self._context(job)
            if job.kind == "import":
                await self._import(job, context, done)
            else:
                await self._export(job, context, done)
        except ImportFailed as error:
            faults = [asdict(fault) for fault in error.progress.faults]
            await self._failed(job, done, error.message, faults)
        except ApiError as error:
            if error.status < 500:
                await self._failed(job, done, error.message, None)
            else:
                log.warning("a job waits for another try", job=job.id, reason=error.message)
                await asyncio.sleep(_LOOKS_EVERY)
                await jobs.release(self._database, job)
        except _Lost:
            log.info("a job was cancelled, or another has it", job=job.id)
        except Exception:
            log.exception("a job failed", job=job.id)
            await self._failed(job, done, "Something went wrong on our side.", None)

    async def _context(self, job: Job) -> Context:
        """The rights are those that the user has when the work is done."""
        group = await jobs.group_of(self._database, job.user)
        if group is None:
            raise Forbidden
        return Context(
            principal=Principal(job.user, group),
            version=ApiVersion.V1_1,
            request_id=job.id,
            stamps=None,
            catalogue=await self._knowledge.catalogue(None),
            rights=await self._knowledge.rights(group, None),
            settings=await self._knowledge.settings(None),
            actor=Actor(job.user, job.id),
        )

    async def _failed(self, job: Job, done: _Done, message: str, faults: object) -> None:
        async with self._changes.transaction(Actor(job.user, job.id)) as change:
            if not await jobs.finish(
                change, job, "failed", rows=done.rows, done=done.bytes, message=message,
                faults=faults,
            ):  # fmt: skip
                return
            change.touch("t:directus_messages", "t:directus_messages_recipients")
            subject = f"The {job.kind} of {job.collection} failed"
            await jobs.tell(change, job.user, subject, message)
        await jobs.drop_parts(self._database, job.id)

    async def _import(self, job: Job, context: Context, done: _Done) -> None:
        progress = done.work
        assert isinstance(progress, Progress)

        async def chunks() -> AsyncGenerator[bytes]:
            async for part in jobs.read_parts(self._parts, job.id):
                for at in range(0, len(part), 64 * 1024):
                    yield part[at : at + 64 * 1024]
                done.bytes += len(part)

        async def finish(joined: Joined, progress: Progress) -> None:
            assert joined.session is not None
            if not await jobs.finish(
                joined.session, job, "done", rows=progress.rows, done=done.bytes, result={}
            ):
                raise _Lost

        dry_run = bool(job.arguments["dry_run"])
        await import_file(
            self._changes, context, job.collection, job.arguments["format"], chunks(),
            dry_run=dry_run, progress=progress, finish=finish,
        )  # fmt: skip
        if dry_run:
            await jobs.finish(
                self._database, job, "done", rows=progress.rows, done=done.bytes,
                result={"dry_run": True},
            )  # fmt: skip
        await failpoints.reach("jobs.imported")
        await jobs.drop_parts(self._database, job.id)

    async def _export(self, job: Job, context: Context, done: _Done) -> None:
        export = done.work
        assert isinstance(export, Export)
        form = str(job.arguments["format"])
        await jobs.drop_parts(self._database, job.id)  # of one who died
        plan = plan_export(context, job.collection, job.arguments["query"])
        content_type, ending = FORMATS.get(form, ("", ""))

        async def chunks() -> AsyncGenerator[bytes]:
            async for piece in export_rows(self._database, plan, form, export):
                done.bytes += len(piece)
                yield piece

        size = await jobs.write_parts(self._database, job.id, chunks())
        now = datetime.now(UTC)
        title = f"export-{job.collection}-{now:%Y%m%d-%H%M%S}"
        given: Mapping[str, Any] = job.arguments.get("file") or {}
        result = {
            "position": export.position,
            "feed": export.epoch,
            "type": content_type,
            "size": size,
            "title": str(given.get("title") or title)[:255],
            "folder": str(given.get("folder") or "")[:100],
            "name": str(given.get("filename_download") or f"{title}.{ending}")[:255],
        }
        if not await jobs.finish(
            self._database, job, "storing", rows=export.rows, done=size, result=result
        ):
            raise _Lost
