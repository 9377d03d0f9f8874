"""``python -m benchmarks``: requests a second, beside bare programs that do the same.

Everything runs on this machine and ends by itself: rounds of a few seconds, ours and the floor in
turn, medians of three. ``--only WORD`` takes the cases with that word in their name.
"""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from typing import Final

import msgspec
import psutil

from benchmarks.cases import CASES, ROW_COUNT, Case
from benchmarks.load import Burst, Measured
from benchmarks.report import Result, Round, show, write
from benchmarks.stage import ROOT, SERVERS, Side, Stage, Unusable, set_stage
from local_cluster.errors import Refused

WARM_UP: Final = 0.7  # seconds before the first round of a case


async def burst(side: Side, case: Case, work: tuple[str, str, str], seconds: float) -> Measured:
    """Load from a process of its own. Raises Unusable unless every answer was a good one."""
    method, path, body = work
    wanted = Burst(
        base=side.base,
        method=method,
        path=path,
        headers=dict(side.headers),
        body=body,
        ids=(1, ROW_COUNT),
        connections=case.connections,
        seconds=seconds,
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "benchmarks.load",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    output, _ = await process.communicate(msgspec.json.encode(wanted))
    measured = msgspec.json.decode(output, type=Measured)
    if any(not status.startswith("2") for status in measured.statuses):
        raise Unusable(f"{case.name}: {measured.statuses}\n{measured.first_failure}")
    return measured


async def one_round(side: Side, case: Case, work: tuple[str, str, str], seconds: float) -> Round:
    before = side.cpu_seconds()
    measured = await burst(side, case, work, seconds)
    return Round(measured, side.cpu_seconds() - before)


async def run_case(stage: Stage, case: Case, rounds: int, seconds: float) -> Result:
    floor = stage.memory if case.cached else stage.floor
    await burst(stage.ours, case, case.ours, WARM_UP)
    await burst(floor, case, case.floor, WARM_UP)
    ours: list[Round] = []
    floors: list[Round] = []
    for _ in range(rounds):
        ours.append(await one_round(stage.ours, case, case.ours, seconds))
        floors.append(await one_round(floor, case, case.floor, seconds))
    return Result(case, ours, floors)


def memory_of(stage: Stage) -> float:
    """MB of our processes, shared pages counted once (PSS)."""
    total = 0
    for name, pid in stage.cluster.processes.items():
        if name not in SERVERS:
            try:
                total += psutil.Process(pid).memory_full_info().pss
            except psutil.NoSuchProcess:
                continue
    return total / 1_000_000


async def run(cases: Sequence[Case], rounds: int, seconds: float) -> None:
    def say(what: str) -> None:
        print(f"· {what}", file=sys.stderr, flush=True)

    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)  # leave nothing
    async with set_stage(say) as stage:
        idle = memory_of(stage)
        results: list[Result] = []
        for case in cases:
            say(case.name)
            results.append(await run_case(stage, case, rounds, seconds))
        notes = [
            f"Memory of our processes: {idle:.0f} MB before, {memory_of(stage):.0f} MB after.",
        ]
    show(results, notes)
    print(f"Written to {write(results, notes).relative_to(ROOT)}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of one round")
    parser.add_argument("--only", default="", help="cases with this in their name")
    arguments = parser.parse_args()
    cases = [case for case in CASES if arguments.only in case.name]
    try:
        asyncio.run(run(cases, min(arguments.rounds, 10), min(arguments.seconds, 30.0)))
    except (Unusable, Refused) as fault:
        sys.exit(str(fault))
    except asyncio.CancelledError:
        sys.exit("stopped")


if __name__ == "__main__":
    main()
