"""PostgreSQL on a few kept connections, handed straight to the longest waiter.

A pool that resets a connection on release pays a round trip for each request. Here nothing is left
to reset: state lives in transaction-local settings only, and a connection that comes back inside a
transaction is closed. Statements stay prepared by their text. (docs/decisions/0009)
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Final, Literal, LiteralString, Protocol, TypeVar

import asyncpg
from asyncpg import Connection, Record

from shared.errors import ApiError, InvalidValue, NotUnique, TimedOut, Unavailable
from shared.in_time import in_time
from shared.sql import Sql, raw

_T = TypeVar("_T")
_PREPARED_STATEMENTS: Final = 512  # kept a connection
_BROKEN: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_BEGIN: Final[dict[tuple[str | None, bool], LiteralString]] = {
    (None, False): "BEGIN",
    (None, True): "BEGIN READ ONLY",
    ("repeatable_read", False): "BEGIN ISOLATION LEVEL REPEATABLE READ",
    ("repeatable_read", True): "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
}


@contextmanager
def client_faults() -> Generator[None]:
    """Turn the database errors that a client caused into ApiErrors; let the others pass.

    The answers name neither other rows nor constraints: both can be hidden from the caller.
    """
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        raise NotUnique("Another item already has this value in a unique column.") from error
    except asyncpg.ForeignKeyViolationError as error:
        raise InvalidValue("A related item does not exist, or still needs this one.") from error
    except asyncpg.NotNullViolationError as error:
        name = error.column_name or "a column"
        message = f'The column "{name}" needs a value.'
        raise InvalidValue(message, field=error.column_name) from error
    except asyncpg.CheckViolationError as error:
        raise InvalidValue("A value breaks a rule of its table.") from error
    except (asyncpg.DataError, asyncpg.exceptions.DataError) as error:
        raise InvalidValue(f"A value does not fit its column: {error}.") from error


@contextmanager
def _server_faults() -> Generator[None]:
    """Turn a server that is away or too slow into the answer for it."""
    try:
        yield
    except Exception as error:
        fault = _server_fault(error)
        if fault is None:
            raise
        raise fault from error


def _server_fault(error: Exception) -> ApiError | None:
    """The answer for a server that is away or too slow; None for what is no fault of it."""
    if isinstance(error, (asyncpg.QueryCanceledError, TimeoutError)):
        return TimedOut("The database took too long for this request.", retry_after=1)
    if isinstance(error, asyncpg.LockNotAvailableError):
        return Unavailable("The table is being changed; try again.", retry_after=1)
    if isinstance(error, asyncpg.DeadlockDetectedError):
        return Unavailable("Two changes crossed each other; try again.", retry_after=0.1)
    if isinstance(error, asyncpg.exceptions.DataError):  # an InterfaceError too: a value's fault
        return None
    if isinstance(error, _BROKEN):
        return Unavailable("The database cannot be reached at the moment.", retry_after=1)
    return None


class Reader(Protocol):
    """What can be asked: a Database, one Session of it, or the Change a write runs in."""

    async def fetch(self, sql: Sql) -> list[Any]: ...
    async def fetchrow(self, sql: Sql) -> Any: ...
    async def fetchval(self, sql: Sql) -> Any: ...


class Session:
    """One connection while it is ours."""

    def __init__(self, connection: "Connection[Record]") -> None:
        self._connection = connection

    async def fetch(self, sql: Sql) -> list[Record]:
        text, values = sql.render()
        return await self._connection.fetch(text, *values)

    async def fetchrow(self, sql: Sql) -> Record | None:
        text, values = sql.render()
        return await self._connection.fetchrow(text, *values)

    async def fetchval(self, sql: Sql) -> Any:
        text, values = sql.render()
        return await self._connection.fetchval(text, *values)

    async def execute(self, sql: Sql) -> str:
        """Run for the effect; returns the command tag, such as ``UPDATE 3``."""
        text, values = sql.render()
        return await self._connection.execute(text, *values)

    async def copy_records(
        self, table: str, columns: Sequence[str], records: Iterable[Sequence[object]]
    ) -> str:
        return await self._connection.copy_records_to_table(
            table, schema_name="public", columns=list(columns), records=records
        )

    async def copy_temporary(self, table: str, records: Iterable[Sequence[object]]) -> str:
        """Into a temporary table of this transaction."""
        return await self._connection.copy_records_to_table(table, records=records)


class Joined:
    """One transaction for everything a task asks of a database, from ``begin`` on.

    ``topics`` are what the changes in it must raise once it has committed, ``afterwards`` what else
    waits for that. Tasks that outlive the block take no part in it any more.
    """

    def __init__(self, database: "Database", stack: AsyncExitStack) -> None:
        self.database = database
        self.session: Session | None = None
        self.topics: set[str] = set()
        self.afterwards: list[Callable[[], Awaitable[object]]] = []
        self.ended = False
        self._stack = stack
        self._one_at_a_time = asyncio.Lock()

    async def begin(self) -> None:
        """Again does no harm."""
        if self.session is None:
            self.session = await self._stack.enter_async_context(self.database.own_transaction())

    @asynccontextmanager
    async def statement(self) -> AsyncGenerator[Session]:
        assert self.session is not None
        async with self._one_at_a_time:
            yield self.session

    @asynccontextmanager
    async def savepoint(self) -> AsyncGenerator[Session]:
        """A part that can fail by itself."""
        assert self.session is not None
        with _server_faults():
            await self.session.execute(raw("SAVEPOINT part"))
            try:
                yield self.session
            except BaseException:
                # released as well: one around it has the same name
                await self.session.execute(
                    raw("ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part")
                )
                raise
            await self.session.execute(raw("RELEASE SAVEPOINT part"))


_joined: Final[ContextVar[Joined | None]] = ContextVar("joined", default=None)


class Database:
    """The database as a service uses it.

    Every method raises Unavailable when the server is away or no connection gets free in time,
    TimedOut when a statement runs longer than the statement timeout.
    """

    def __init__(
        self,
        url: str,
        *,
        size: int = 8,
        statement_timeout: float = 10.0,
        acquire_timeout: float = 2.0,
        application: str = "directoire",
        generic_plans: bool = False,
    ) -> None:
        """``size`` connections at most; time-outs in seconds. Opens nothing yet.

        ``generic_plans``: a prepared statement is planned once, never for the values at hand.
        """
        self._url = url
        self._size = size
        self._statement_timeout = statement_timeout
        self._acquire_timeout = acquire_timeout
        self._application = application
        self._plans = "force_generic_plan" if generic_plans else "auto"
        self._idle: list[Connection[Record]] = []
        self._waiting: deque[asyncio.Future[Connection[Record] | None]] = deque()
        self._open = 0
        self._closed = False

    async def fetch(self, sql: Sql) -> list[Record]:
        return await self._run(Session.fetch, sql)

    async def fetchrow(self, sql: Sql) -> Record | None:
        return await self._run(Session.fetchrow, sql)

    async def fetchval(self, sql: Sql) -> Any:
        return await self._run(Session.fetchval, sql)

    async def execute(self, sql: Sql) -> str:
        return await self._run(Session.execute, sql)

    @asynccontextmanager
    async def joined(self) -> AsyncGenerator[Joined]:
        """What this task asks from ``begin`` on is one transaction, which ends with this block."""
        async with AsyncExitStack() as stack:
            joined = Joined(self, stack)
            before = _joined.set(joined)
            stack.callback(_joined.reset, before)
            try:
                yield joined
            finally:
                joined.ended = True

    @property
    def current(self) -> Joined | None:
        """The transaction that this task takes part in, begun or not."""
        joined = _joined.get()
        if joined is None or joined.database is not self or joined.ended:
            return None
        return joined

    @asynccontextmanager
    async def transaction(
        self, *, isolation: Literal["repeatable_read"] | None = None, readonly: bool = False
    ) -> AsyncGenerator[Session]:
        """A transaction on one connection: committed at the end, rolled back by any exception.

        Within one that is joined, a part of it.
        """
        joined = self.current
        if joined is not None and joined.session is not None:
            async with joined.savepoint() as session:
                yield session
            return
        async with self.own_transaction(isolation=isolation, readonly=readonly) as session:
            yield session

    @asynccontextmanager
    async def own_transaction(
        self, *, isolation: Literal["repeatable_read"] | None = None, readonly: bool = False
    ) -> AsyncGenerator[Session]:
        """A transaction that takes part in no other one."""
        with _server_faults():
            connection = await self._acquire()
            try:
                await connection.execute(_BEGIN[isolation, readonly])
                try:
                    yield Session(connection)
                except BaseException:
                    if not connection.is_closed():
                        await connection.execute("ROLLBACK")
                    raise
                await connection.execute("COMMIT")
            finally:
                self._release(connection)

    async def ping(self) -> None:
        await self.fetchval(raw("SELECT 1"))

    async def close(self) -> None:
        """Close idle connections; those in use close when they come back."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            try:
                await connection.close(timeout=1)
            except (TimeoutError, *_BROKEN):
                connection.terminate()

    async def _run(self, statement: Callable[[Session, Sql], Awaitable[_T]], sql: Sql) -> _T:
        """One statement, on the road of every request: no context managers but in a joined one."""
        joined = self.current
        if joined is not None and joined.session is not None:
            with _server_faults():
                async with joined.statement() as session:
                    return await statement(session, sql)
        try:
            connection = await self._acquire()
            try:
                return await statement(Session(connection), sql)
            except (asyncio.CancelledError, TimeoutError):
                connection.terminate()  # the answer may still come: never reuse the connection
                raise
            finally:
                self._release(connection)
        except Exception as error:
            fault = _server_fault(error)
            if fault is None:
                raise
            raise fault from error

    async def _acquire(self) -> "Connection[Record]":
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._open -= 1
        if self._open >= self._size:
            handed = await self._wait()
            if handed is not None:
                return handed
            # a place got free without a connection: its reservation (_open) is ours
            return await self._connect()
        self._open += 1
        return await self._connect()

    async def _connect(self) -> "Connection[Record]":
        try:
            return await asyncpg.connect(
                self._url,
                timeout=self._acquire_timeout,
                command_timeout=self._statement_timeout + 1,
                statement_cache_size=_PREPARED_STATEMENTS,
                max_cached_statement_lifetime=0,
                server_settings={
                    "application_name": self._application,
                    "statement_timeout": str(int(self._statement_timeout * 1000)),
                    "idle_in_transaction_session_timeout": "30000",
                    # a role named like one of our schemas must not change where names lead
                    "search_path": "public",
                    "timezone": "UTC",
                    "jit": "off",
                    "plan_cache_mode": self._plans,
                },
            )
        except BaseException:
            self._place_free()
            raise

    async def _wait(self) -> "Connection[Record] | None":
        future: asyncio.Future[Connection[Record] | None] = (
            asyncio.get_running_loop().create_future()
        )
        self._waiting.append(future)
        try:
            return await in_time(future, self._acquire_timeout)
        except TimeoutError as error:
            message = "All database connections are busy; try again."
            raise Unavailable(message, retry_after=1) from error
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                handed = future.result()
                if handed is None:
                    self._place_free()
                else:
                    self._release(handed)
            raise

    def _release(self, connection: "Connection[Record]") -> None:
        if connection.is_closed() or connection.is_in_transaction() or self._closed:
            connection.terminate()
            self._place_free()
            return
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(connection)
                return
        self._idle.append(connection)

    def _place_free(self) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                return
        self._open -= 1
