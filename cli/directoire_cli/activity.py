"""``directoire activity …``: watch the feed, keep it for so long, what consumers set aside."""

import asyncio
import json
import sys
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import asyncpg
import msgspec
import typer
from aio_pika.exceptions import AMQPError

from directoire_cli import following
from directoire_cli.api import DEFAULT_URL, Address, Api, AsJson, run
from directoire_consumer import Event, list_dead_letters, names, replay, send_again

_TRUSTED: Final = 1.05  # seconds at most that a gateway trusts its memory after a change in SQL
_DAYS: Final = {"d": 1, "w": 7, "m": 31, "y": 366}

app = typer.Typer(no_args_is_help=True, help="The activity feed.")
dead_letters = typer.Typer(no_args_is_help=True, help="What a consumer did not take.")
app.add_typer(dead_letters, name="dead-letters")

TokenOrBus = Annotated[
    str,
    typer.Option("--token", envvar="DIRECTOIRE_TOKEN", help="an API token", show_default=False),
]
Bus = Annotated[
    str,
    typer.Option(
        "--amqp-url", envvar="AMQP_URL", help="RabbitMQ, instead of a token", show_default=False
    ),
]
Amqp = Annotated[str, typer.Option(envvar="AMQP_URL", help="RabbitMQ", show_default=False)]
Postgres = Annotated[
    str, typer.Option(envvar="DATABASE_URL", help="PostgreSQL", show_default=False)
]
Exchange = Annotated[str, typer.Option(envvar="ACTIVITY_EXCHANGE", help="the topic exchange")]
Consumer = Annotated[str, typer.Argument(help="the consumer's name")]


@app.command()
def tail(
    token: TokenOrBus = "",
    url: Address = DEFAULT_URL,
    amqp_url: Bus = "",
    exchange: Exchange = names.EXCHANGE,
    after: Annotated[int, typer.Option(help="begin after this position")] = -1,
    since: Annotated[
        datetime | None, typer.Option(help="begin at this time, UTC; of the bus only")
    ] = None,
    table: Annotated[list[str] | None, typer.Option(help="only this table; repeat it")] = None,
    follow: Annotated[bool, typer.Option(help="go on with what comes")] = True,
    as_json: AsJson = False,
) -> None:
    """Print the activity, one line an entry: what comes, or the past first.

    With an API token what its user may see; with --amqp-url everything, from the stream on the bus.
    """
    wanted = frozenset(table or ())
    if token:
        first = None if after < 0 else after

        async def shown(api: Api) -> None:
            entries = following.coming(api, first, wanted)
            if not follow:
                entries = following.past(api, first or 0, wanted)
            async for entry in entries:
                print(json.dumps(entry) if as_json else _line_of(entry), flush=True)

        run(url, token, shown)
        return
    if not amqp_url:
        print("Give an API token with --token or DIRECTOIRE_TOKEN.", file=sys.stderr)
        raise typer.Exit(1)
    moment = since.replace(tzinfo=UTC) if since is not None else None
    if after < 0 and moment is None:
        moment = datetime.now(UTC)
    _run(_tail(amqp_url, exchange, max(after, 0) + 1, moment, wanted, follow=follow))


def _line_of(entry: following.Entry) -> str:
    subject = f"{entry['table_name']}/{entry['row_id']}"
    said = (entry["position"], entry["datetime"], entry["action"], subject)
    return "  ".join([*map(str, said), f"by {entry['user']}"])


async def _tail(
    url: str,
    exchange: str,
    first: int,
    since: datetime | None,
    tables: frozenset[str],
    *,
    follow: bool,
) -> None:
    async for event in replay(url, exchange=exchange, first=first, since=since, follow=follow):
        if not tables or event.table in tables:
            print(_line(event), flush=True)


def _line(event: Event) -> str:
    changed = sorted(event.before or {}) if event.action == "UPDATE" else []
    subject = event.table if event.row_id is None else f"{event.table}/{event.row_id}"
    time = f"{event.time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
    parts = [str(event.position), time, event.action, subject, f"by {event.actor}", *changed]
    return "  ".join(parts)


@app.command()
def retain(
    keep: Annotated[str, typer.Argument(help="how long entries stay: 90d, 12w, 6m, 2y")],
    database_url: Postgres,
) -> None:
    """Drop the months of activity that are older, whole months, and only what the bus confirmed."""
    number, unit = keep[:-1], keep[-1:]
    if unit not in _DAYS or not number.isdecimal() or int(number) == 0:
        raise typer.BadParameter("a number and d, w, m or y, such as 90d")
    before = datetime.now(UTC) - timedelta(days=int(number) * _DAYS[unit])
    dropped = _run(_retain(database_url, before))
    print(f"{dropped} entries dropped")


async def _retain(url: str, before: datetime) -> int:
    """Returns when no list shows what went: what was remembered before is trusted no longer."""
    connection = await asyncpg.connect(url)
    try:
        dropped: int = await connection.fetchval("SELECT directoire.retain($1)", before)
    finally:
        await connection.close()
    if dropped:
        await asyncio.sleep(_TRUSTED)
    return dropped


@app.command()
def quiet(
    table: Annotated[str, typer.Argument()],
    database_url: Postgres,
    off: Annotated[bool, typer.Option("--off", help="show its entries again")] = False,
) -> None:
    """Leave a table's entries out of people's lists of activity; the feed has them all the same."""
    _run(_quiet(database_url, table, off=off))


async def _quiet(url: str, table: str, *, off: bool) -> None:
    connection = await asyncpg.connect(url)
    try:
        if off:
            await connection.execute(
                "DELETE FROM directoire.quiet_tables WHERE table_name = $1", table
            )
        else:
            await connection.execute(
                "INSERT INTO directoire.quiet_tables VALUES ($1) ON CONFLICT DO NOTHING", table
            )
    finally:
        await connection.close()


@dead_letters.command("list")
def list_(consumer: Consumer, amqp_url: Amqp, exchange: Exchange = names.EXCHANGE) -> None:
    """One line each: id, position, reason, routing key."""
    for letter in _run(list_dead_letters(amqp_url, consumer, exchange=exchange)):
        print(f"{letter.id}  {letter.position}  {letter.reason}  {letter.routing_key}")


@dead_letters.command("read")
def read(
    consumer: Consumer,
    amqp_url: Amqp,
    letter_id: Annotated[str, typer.Argument(metavar="ID")],
    exchange: Exchange = names.EXCHANGE,
) -> None:
    """The whole message."""
    for letter in _run(list_dead_letters(amqp_url, consumer, exchange=exchange)):
        if letter.id == letter_id:
            with suppress(msgspec.DecodeError):
                print(msgspec.json.format(letter.body).decode())
                return
            sys.stdout.buffer.write(letter.body)
            return
    raise typer.BadParameter(f"there is no dead letter {letter_id}")


@dead_letters.command("send")
def send(
    consumer: Consumer,
    amqp_url: Amqp,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="default: all")] = None,
    exchange: Exchange = names.EXCHANGE,
) -> None:
    """Put them back into the consumer's queue. Run again after a fault, it does no harm."""
    sent = _run(send_again(amqp_url, consumer, exchange=exchange, ids=ids or None))
    print(f"{sent} sent again")


def _run(work: Coroutine[Any, Any, Any]) -> Any:
    """Faults of a server or a name end in one line."""
    try:
        return asyncio.run(work)
    except (AMQPError, asyncpg.PostgresError, OSError, TimeoutError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
