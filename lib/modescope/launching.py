"""Shards computed in one process, by `accelerate launch` on the GPUs of a node, or by Ray on a cluster.

A span of a shard is an idempotent task: the same rows, the same bytes, whoever computes them. The engines start the
processes and find out what died; here is only how spans are dealt to them. `launch` names the engine:

`local`: this process, span by span.
`accelerate`: the same command again, in one process per GPU; each takes every n-th span and writes it. Where the group was
started by hand (`accelerate launch` on each node, one file system for all), its processes are used.
`ray`: a task per span anywhere in the cluster. The rows come back to this process, which writes them, so nodes need no
common file system; they need the checkout and its environment at the same path. Spans of a node that died run elsewhere.
"""

from __future__ import annotations

import importlib
import logging
import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from modescope import runtime
from modescope.records import Span
from modescope.runtime import Runtime

log = logging.getLogger(__name__)

Batch = Mapping[str, np.ndarray]
Batches = Iterator[Batch]

LAUNCHES = ("local", "accelerate", "ray")
LAUNCHED = "MODESCOPE_LAUNCHED"
"""Environment variable of the processes that `compute` started: the process that started them writes the manifest."""

RETRIES = 5  # times that Ray computes a span again after its worker or node died
PATIENCE = timedelta(days=7)  # how long a rank that is done waits for the slowest one


@runtime_checkable
class Job(Protocol):
    """What computes spans: a frozen dataclass of plain values, cheap to send, of an importable module (not `__main__`)."""

    @property
    def runtime(self) -> Runtime:
        """The machine that the run was planned for (see `machine`)."""
        ...

    def open(self) -> Callable[[Span], Batches]:
        """Load models in this process, whose threads and device are set; the result computes the rows of a span."""
        ...


Write = Callable[[Span, Iterable[Batch]], None]
Advance = Callable[[int], None]


def compute(
    job: Job,
    spans: Sequence[Span],
    write: Write,
    *,
    launch: str,
    advance: Advance,
    command: Sequence[str],
    processes: int | None = None,
    address: str | None = None,
) -> bool:
    """Have every span computed and written; True in the one process that shall write the manifest then.

    `spans` are those still missing, listed by every process that gets here; `write` stores the batches of one span, all or
    nothing. `advance(rows)` is called in one process: with accelerate in rank 0, which scales its own rows to those of all.
    `command` starts this same work again, as arguments of `accelerate launch`: ["-m", "stages.capture", "default", "real"].
    `processes` (accelerate; None: one per GPU, or as many as the threads of the job leave room for) and `address` (Ray; None:
    this machine alone) are the user's. Raises ValueError where an engine is missing or fails; what was written is kept.
    """
    _known(launch)
    if launch == "accelerate":
        return _accelerate(job, spans, write, advance, command, processes)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            f"launch is {launch!r}, but this process is one of a group of {os.environ['WORLD_SIZE']}, which would all do the "
            "same; set runtime.launch to accelerate, or start the command without accelerate and torchrun"
        )
    if launch == "ray":
        _ray(job, spans, write, advance, address)
    else:
        _local(job, spans, write, advance)
    return True


def machine(device: str, threads: int, *, launch: str, address: str | None = None, **options: bool) -> Runtime:
    """`runtime.start` where the spans will be computed: with Ray and an address on a node of that cluster, else here."""
    _known(launch)
    if launch != "ray" or address is None:
        return runtime.start(device, threads, **options)
    with _cluster(address) as ray:
        nodes = ray.nodes()
        gpu = device.startswith("cuda") or (device == "auto" and any(_resource(node, "GPU") for node in nodes))
        wanted = Runtime(device="cuda" if gpu else "cpu", threads=threads or 1, torch=torch.__version__)
        check_slots(nodes, wanted)
        try:
            return ray.get(ray.remote(max_retries=RETRIES, **_needs(wanted))(_machine).remote(device, threads, options))
        except ray.exceptions.RayTaskError as error:
            raise _own(error, ray.exceptions.RayTaskError, "a node of the cluster") from error


def _machine(device: str, threads: int, options: Mapping[str, bool]) -> Runtime:
    return runtime.start(device, threads, **options)


@contextmanager
def in_turn(launch: str) -> Iterator[None]:
    """In a group of processes that accelerate started, rank 0 goes through the block before the others do."""
    if launch != "accelerate" or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    with engine("accelerate").PartialState(cpu=True, timeout=PATIENCE).main_process_first():
        yield


def engine(name: str, load: Callable[[str], ModuleType] = importlib.import_module) -> Any:
    """The package of an engine. Raises ValueError where it is not installed."""
    try:
        return load(name)
    except ImportError as error:
        raise ValueError(
            f"launch {name!r} needs the package {name}, which is not installed ({error}); "
            "run `pip install modescope[cluster]` or set runtime.launch to local"
        ) from error


def _known(launch: str) -> None:
    if launch not in LAUNCHES:
        raise ValueError(f"launch {launch!r} is unknown; use one of {', '.join(LAUNCHES)}")


def _rows(spans: Iterable[Span]) -> int:
    return sum(len(span) for span in spans)


def _counted(batches: Iterable[Batch], advance: Advance) -> Batches:
    for batch in batches:
        yield batch
        advance(len(next(iter(batch.values()))))


def _opened(job: Job) -> Callable[[Span], Batches]:
    """The job opened in a process that was started for it, on a machine that must be of the kind it was planned for."""
    here = runtime.start(job.runtime.device, job.runtime.threads, **job.runtime.options)
    if here != job.runtime:
        raise ValueError(
            f"node {os.uname().nodename} is {here.record()}, but the run was planned for {job.runtime.record()}: bytes would "
            "differ; use nodes of one kind with the same environment"
        )
    return job.open()


def _local(job: Job, spans: Sequence[Span], write: Write, advance: Advance) -> None:
    if spans:
        compute_rows = job.open()
        for span in spans:
            write(span, _counted(compute_rows(span), advance))


# accelerate


def _accelerate(
    job: Job, spans: Sequence[Span], write: Write, advance: Advance, command: Sequence[str], processes: int | None
) -> bool:
    engine("accelerate")
    # Of a group of one, accelerate sets no rank.
    if LAUNCHED in os.environ or "RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ:
        return _share(job, spans, write, advance) and LAUNCHED not in os.environ
    if spans:
        configured = Path(engine("accelerate.commands.config.config_args").default_config_file).is_file()
        _start(command, launch_flags(job.runtime, processes, gpus=torch.cuda.device_count(), configured=configured))
    return True


def _share(job: Job, spans: Sequence[Span], write: Write, advance: Advance) -> bool:
    """This rank's part of the spans; True in rank 0. Ranks exchange nothing, so the group is one of CPUs on every machine."""
    state = engine("accelerate").PartialState(cpu=True, timeout=PATIENCE)
    state.wait_for_everyone()  # every rank has listed the spans before the first one writes
    own = spans[state.process_index :: state.num_processes]
    if own:
        compute_rows = _opened(job)
        seen = _scaled(advance, _rows(own), _rows(spans)) if state.is_main_process else _ignore
        for span in own:
            write(span, _counted(compute_rows(span), seen))
    state.wait_for_everyone()
    return state.is_main_process


def _scaled(advance: Advance, own: int, total: int) -> Advance:
    """`advance` told of `own` rows in steps => told of `total` rows in the same steps."""
    done = 0

    def scaled(rows: int) -> None:
        nonlocal done
        before, done = done, done + rows
        advance(total * done // own - total * before // own)

    return scaled


def _ignore(rows: int) -> None:
    pass


def launch_flags(planned: Runtime, processes: int | None, *, gpus: int, configured: bool) -> list[str]:
    """Arguments of `accelerate launch` that leave it nothing to ask.

    Where the user has `configured` accelerate, machines, ports and (unless given) processes are what they said.
    """
    flags = ["--mixed_precision=no", "--dynamo_backend=no", f"--num_cpu_threads_per_process={planned.threads}"]
    if configured and processes is None:
        return flags
    count = processes or (gpus if planned.device == "cuda" else max(1, runtime.cores() // planned.threads))
    flags.append(f"--num_processes={count}")
    if not configured:
        flags += ["--num_machines=1", "--main_process_port=0"]
    # `--multi_gpu` is accelerate's word for "several processes", on CPUs too; its `--cpu` would start one.
    return [*flags, "--multi_gpu"] if count > 1 else flags


def _start(command: Sequence[str], flags: Sequence[str]) -> None:
    line = [sys.executable, "-m", "accelerate.commands.launch", *flags, *command]
    process = subprocess.Popen(line, env=os.environ | {LAUNCHED: "1"})
    try:
        status = process.wait()
    finally:
        if process.poll() is None:  # interrupted: end the ranks too
            process.terminate()
            process.wait()
    if status:
        raise ValueError(
            f"accelerate launch ended with status {status}; its processes say why, above. Finished shards are kept: correct "
            "the cause and run again, or set runtime.launch to local to see the error alone"
        )


# Ray


@contextmanager
def _cluster(address: str | None) -> Iterator[Any]:
    """Ray, connected for as long as the block lasts: to `address`, or started on this machine. A connection that is there
    already is used and left."""
    ray = engine("ray")
    if ray.is_initialized():
        yield ray
        return
    # Nothing is sent anywhere by a Ray that is started here.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own: dict[str, Any] = {} if address else {"include_dashboard": False}
    try:
        ray.init(address=address or "local", logging_level=logging.WARNING, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"address {address!r}: Ray is not reached ({error}); start it with `ray start --head` on one node and "
            "`ray start --address=<that node>:6379` on the others, or set runtime.address to null"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _ray(job: Job, spans: Sequence[Span], write: Write, advance: Advance, address: str | None) -> None:
    if not spans:
        return
    with _cluster(address) as ray:
        check_slots(ray.nodes(), job.runtime)
        # A GPU's worker is kept from task to task, with its model: Ray's default ends it after one.
        task = ray.remote(max_retries=RETRIES, max_calls=0, **_needs(job.runtime))(_span_rows)
        sent = ray.put(job)
        waiting, running = deque(spans), dict[Any, Span]()
        try:
            while waiting or running:
                while waiting and len(running) < 2 * max(1, slots(ray.nodes(), job.runtime)):
                    span = waiting.popleft()
                    running[task.remote(str(Path.cwd()), sys.path, [sent], span)] = span
                (arrived,), _ = ray.wait(list(running), num_returns=1)
                span = running.pop(arrived)
                write(span, _counted(_arrived(ray, arrived, span), advance))
                del arrived
        finally:
            for left in running:
                ray.cancel(left)


def _needs(planned: Runtime) -> dict[str, int]:
    return {"num_gpus": 1} if planned.device == "cuda" else {"num_cpus": planned.threads}


def slots(nodes: Sequence[Mapping[str, Any]], planned: Runtime) -> int:
    """Tasks that run at once on the nodes (Ray's records of them) that are alive: one per GPU, or per `threads` CPUs."""
    if planned.device == "cuda":
        return sum(_resource(node, "GPU") for node in nodes)
    return sum(_resource(node, "CPU") // planned.threads for node in nodes)


def _resource(node: Mapping[str, Any], name: str) -> int:
    return int(node["Resources"].get(name, 0)) if node["Alive"] else 0


def check_slots(nodes: Sequence[Mapping[str, Any]], planned: Runtime) -> None:
    """There is a node that can do the tasks: Ray would wait for one for ever."""
    if slots(nodes, planned):
        return
    if planned.device == "cuda":
        raise ValueError("device is 'cuda', but no node of the cluster has a GPU; add one or set runtime.device to cpu")
    largest = max(_resource(node, "CPU") for node in nodes)
    raise ValueError(f"threads is {planned.threads}, but the largest node has {largest} CPUs; lower runtime.threads")


def _arrived(ray: Any, reference: Any, span: Span) -> list[Batch]:
    """The batches of a task. What went wrong in it is raised as if it had been called here, with the span named."""
    where = f"rows {span.start} to {span.stop} of shard {span.number}"
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        raise _own(error, ray.exceptions.RayTaskError, where) from error
    except ray.exceptions.RayError as error:
        raise ValueError(
            f"{where}: workers or their nodes died {RETRIES + 1} times ({str(error).splitlines()[0]}); memory is the usual "
            "cause: lower batch_size or shard_rows. Finished shards are kept: run again"
        ) from error


def _own(error: Any, wrapper: type[Exception], where: str) -> Exception:
    cause = error.cause
    if isinstance(cause, wrapper) or not isinstance(cause, Exception):
        return error
    if isinstance(cause, ValueError):
        return ValueError(f"{where}: {cause}")
    cause.add_note(where)
    return cause


def _span_rows(folder: str, path: Sequence[str], sent: Sequence[Any], span: Span) -> list[Batch]:
    """The task: all batches of a span, on a node that has the checkout of the process that asks."""
    return list(_remote(folder, path, sent)(span))


def _remote(folder: str, path: Sequence[str], sent: Sequence[Any]) -> Callable[[Span], Batches]:
    try:
        os.chdir(folder)
        sys.path += [place for place in path if place not in sys.path]
        job = engine("ray").get(sent[0])  # sent apart, because it is imported by what the lines above make importable
    except (ImportError, OSError) as error:
        raise ValueError(
            f"node {os.uname().nodename} cannot do this ({error}); the checkout and its environment must lie at the same "
            f"path on every node: {folder}"
        ) from error
    return _opened_once(job)


@lru_cache(maxsize=1)
def _opened_once(job: Job) -> Callable[[Span], Batches]:
    return _opened(job)
