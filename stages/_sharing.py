"""What generate and capture share: the machine, and the missing shards computed by whoever `runtime.launch` names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from modescope import launching
from modescope.params import Params
from modescope.runtime import OPTIONS, Runtime
from modescope.store import Shards


def machine(params: Params) -> Runtime:
    """The machine that will do the work: this one, or a node of the cluster."""
    asked = params.runtime
    options = asked.model_dump(include=set(OPTIONS))
    return launching.machine(asked.device, asked.threads, launch=asked.launch, address=asked.address, **options)


@contextmanager
def bar(total: int, done: int, what: str) -> Iterator[Callable[[int], None]]:
    """A progress bar that appears with the first rows: a process that leaves the work to others shows none."""
    shown: list[tqdm] = []

    def advance(rows: int) -> None:
        if not shown:
            shown.append(tqdm(total=total, initial=done, desc=what, unit="image", dynamic_ncols=True))
        shown[0].update(rows)

    try:
        yield advance
    finally:
        for each in shown:
            each.close()


def compute(params: Params, job: launching.Job, shards: Shards, stage: str, *keys: str) -> bool:
    """Have every missing shard computed. True in the process that shall write the manifest."""
    missing = shards.missing()
    done = shards.rows - sum(map(len, missing))
    with bar(shards.rows, done, " ".join((stage, *keys))) as advance:
        return launching.compute(
            job,
            missing,
            shards.write,
            launch=params.runtime.launch,
            advance=advance,
            command=["-m", f"stages.{stage}", *keys],
            processes=params.runtime.processes,
            address=params.runtime.address,
        )
