"""Spans dealt to processes: every engine gives the bytes of one process, also when nodes die; errors name what to do.

Run as a script this file is what `accelerate launch` starts in the tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from modescope import files, launching, runtime
from modescope.records import Span
from modescope.runtime import Runtime

SPANS = [Span(number=n, start=start, stop=8) for n, start in enumerate([0, 4, 0, 0, 0, 0])]
ROWS = sum(len(span) for span in SPANS)
PLANNED = Runtime(device="cpu", threads=1, torch=torch.__version__)
LONG = 120  # seconds that a test waits for other processes before it gives up


@dataclass(frozen=True, kw_only=True)
class Blurs:
    """A tiny torch job. It leaves marks in `marks` (opened, started), and can be told to fail at a span or to hang."""

    runtime: Runtime = PLANNED
    marks: str | None = None
    bad: int | None = None
    error: type[Exception] = ValueError
    safe: str | None = None  # the node on which nothing hangs

    def open(self) -> Callable[[Span], Iterator[dict[str, np.ndarray]]]:
        self.mark(f"open-{os.getpid()}")
        network = torch.nn.Conv2d(3, 8, 3)
        weights = torch.Generator().manual_seed(0)
        network.weight.data = torch.randn(network.weight.shape, generator=weights)
        network.bias.data.zero_()
        return lambda span: self.rows(network, span)

    @torch.no_grad()
    def rows(self, network: torch.nn.Module, span: Span) -> Iterator[dict[str, np.ndarray]]:
        self.hang(span)
        for start in range(span.start, span.stop, 2):
            if span.number == self.bad:
                raise self.error("label 7 has no class; give one")
            noise = torch.Generator().manual_seed(100 * span.number + start)
            yield {"mid": network(torch.randn(2, 3, 16, 16, generator=noise)).numpy()}

    def mark(self, name: str) -> None:
        if self.marks is not None:
            (Path(self.marks) / name).touch()

    def hang(self, span: Span) -> None:
        """On another node than `safe` the first span is done and the next never ends; nothing else ends before that."""
        if self.safe is None:
            return
        import ray

        if ray.get_runtime_context().get_node_id() == self.safe:
            wait_for(Path(self.marks) / "hangs")
            return
        before = list(Path(self.marks).glob("away-*"))
        self.mark(f"away-{span.number}")
        if before:
            self.mark("hangs")
            time.sleep(LONG)


def wait_for(mark: Path) -> None:
    deadline = time.monotonic() + LONG
    while not mark.exists():
        assert time.monotonic() < deadline, f"{mark} did not come"
        time.sleep(0.02)


def rows_of(job: Blurs) -> dict[int, bytes]:
    """What a plain loop gives."""
    return {span.number: np.concatenate([b["mid"] for b in job.open()(span)]).tobytes() for span in SPANS}


def into(found: dict[int, bytes], when: Callable[[Span], None] = lambda span: None):
    def write(span, batches):
        assert span.number not in found
        found[span.number] = np.concatenate([batch["mid"] for batch in batches]).tobytes()
        when(span)

    return write


def run(job, *, launch, found=None, seen=None, spans=SPANS, when=lambda span: None, **options):
    return launching.compute(
        job,
        spans,
        into({} if found is None else found, when),
        launch=launch,
        advance=[].append if seen is None else seen.append,
        command=options.pop("command", []),
        **options,
    )


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_one_process_opens_the_job_once_and_counts_every_row(tmp_path):
    found, seen = {}, []
    assert run(Blurs(marks=str(tmp_path)), launch="local", found=found, seen=seen)
    assert found == rows_of(Blurs())
    assert seen == [2] * (ROWS // 2)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("launch", launching.LAUNCHES)
def test_nothing_missing_opens_and_starts_nothing(tmp_path, launch):
    assert run(Blurs(marks=str(tmp_path)), launch=launch, spans=[], command=["no_such_script.py"])
    assert not list(tmp_path.iterdir())


def test_unknown_engines_and_missing_ones_say_what_to_do():
    with pytest.raises(ValueError, match="launch 'slurm' is unknown; use one of local, accelerate, ray"):
        run(Blurs(), launch="slurm")
    with pytest.raises(ValueError, match="launch 'slurm' is unknown"):
        launching.machine("cpu", 1, launch="slurm")

    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}")

    with pytest.raises(ValueError, match=r"package ray, which is not installed .*`pip install modescope\[cluster\]`"):
        launching.engine("ray", absent)


def test_an_engine_of_one_process_inside_a_group_is_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="launch is 'local', but this process is one of a group of 2"):
        run(Blurs(), launch="local")


# accelerate


def share(folder: Path) -> None:
    """A rank: what a stage does."""

    def write(span, batches):
        files.write_array(folder / f"{span.number}.npy", np.concatenate([batch["mid"] for batch in batches]))

    seen = []
    job = Blurs(marks=str(folder), runtime=runtime.start("cpu", PLANNED.threads))
    last = launching.compute(job, SPANS, write, launch="accelerate", advance=seen.append, command=[])
    files.write_json(folder / f"rank-{os.environ['RANK']}.json", {"last": last, "rows": sum(seen)})


def written(folder: Path) -> dict[int, bytes]:
    return {span.number: files.read_array(folder / f"{span.number}.npy").tobytes() for span in SPANS}


def test_two_processes_of_accelerate_give_the_bytes_of_one(tmp_path):
    seen = []
    last = run(Blurs(), launch="accelerate", seen=seen, command=[__file__, str(tmp_path)], processes=2)
    assert (last, seen) == (True, [])
    assert written(tmp_path) == rows_of(Blurs())
    assert len(list(tmp_path.glob("open-*"))) == 2
    assert files.read_json(tmp_path / "rank-0.json") == {"last": False, "rows": ROWS}
    assert files.read_json(tmp_path / "rank-1.json") == {"last": False, "rows": 0}


def test_a_group_started_by_hand_is_used_and_its_first_rank_is_the_last_to_write(tmp_path):
    flags = launching.launch_flags(PLANNED, 2, gpus=0, configured=False)
    subprocess.run(
        [sys.executable, "-m", "accelerate.commands.launch", *flags, __file__, str(tmp_path)], check=True, timeout=LONG
    )
    assert written(tmp_path) == rows_of(Blurs())
    assert files.read_json(tmp_path / "rank-0.json")["last"] is True
    assert files.read_json(tmp_path / "rank-1.json")["last"] is False


def test_a_rank_that_fails_is_an_error_here():
    with pytest.raises(ValueError, match=r"accelerate launch ended with status \d+; .* run again"):
        run(Blurs(), launch="accelerate", command=["no_such_script.py"], processes=1)


def test_accelerate_is_asked_for_a_process_per_gpu_or_per_share_of_the_cores():
    def flags(planned, processes, **options):
        return " ".join(launching.launch_flags(planned, processes, **{"gpus": 0, "configured": False} | options))

    gpu = replace(PLANNED, device="cuda")
    assert flags(gpu, None, gpus=4).endswith("--num_processes=4 --num_machines=1 --main_process_port=0 --multi_gpu")
    assert "--num_processes=3 " in flags(gpu, 3, gpus=4)
    assert "--multi_gpu" not in flags(gpu, None, gpus=1)
    assert f"--num_processes={runtime.cores()} " in flags(PLANNED, None) + " "
    assert "--num_processes=1 " in flags(replace(PLANNED, threads=10_000), None)
    # What the user configured stays theirs, but for what params.yaml says.
    assert "num_processes" not in flags(gpu, None, gpus=4, configured=True)
    assert flags(gpu, 2, configured=True).endswith("--num_processes=2 --multi_gpu")


# Ray


def test_a_cluster_that_is_not_there_says_how_to_start_one():
    with pytest.raises(ValueError, match=r"address 'nowhere': Ray is not reached .*`ray start --head` on one node"):
        run(Blurs(), launch="ray", address="nowhere")


NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}


@pytest.fixture(scope="module")
def cluster():
    """A cluster of one node with one CPU, to which tests add theirs."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args=NODE)
    yield nodes
    nodes.shutdown()


@pytest.fixture(scope="module")
def connected(cluster):
    """One connection for several tests, so that workers are started once."""
    import ray

    ray.init(address=cluster.address, logging_level="WARNING")
    yield
    ray.shutdown()


def test_a_cluster_gives_the_bytes_of_one_process_though_a_node_dies(cluster, tmp_path):
    away = cluster.add_node(**NODE)
    found, seen, killed = {}, [], []

    def kill(span):
        if not killed:
            wait_for(tmp_path / "hangs")
            cluster.remove_node(away, allow_graceful=False)
            killed.append(span.number)

    job = Blurs(marks=str(tmp_path), safe=cluster.head_node.node_id)
    assert run(job, launch="ray", found=found, seen=seen, when=kill, address=cluster.address)
    # The node that died had done one span, and was at another.
    (first,) = killed
    assert len(list(tmp_path.glob("away-*"))) == 2
    assert (tmp_path / f"away-{first}").exists()
    assert found == rows_of(Blurs())
    assert sum(seen) == ROWS


def test_a_worker_of_the_cluster_opens_the_job_once(connected, cluster, tmp_path):
    assert run(Blurs(marks=str(tmp_path)), launch="ray", address=cluster.address)
    assert len(list(tmp_path.glob("open-*"))) == 1


def test_the_machine_of_a_run_is_asked_of_the_cluster(connected, cluster):
    assert launching.machine("cpu", 1, launch="ray", address=cluster.address) == PLANNED
    assert launching.machine("cpu", 1, launch="ray") == PLANNED
    with pytest.raises(ValueError, match="a node of the cluster: device 'tpu' is unknown"):
        launching.machine("tpu", 1, launch="ray", address=cluster.address)
    with pytest.raises(ValueError, match="no node of the cluster has a GPU"):
        launching.machine("cuda", 1, launch="ray", address=cluster.address)
    with pytest.raises(ValueError, match="threads is 99, but the largest node has 1 CPUs"):
        launching.machine("cpu", 99, launch="ray", address=cluster.address)


def test_errors_in_a_task_come_as_they_are_and_name_the_span(connected, cluster):
    with pytest.raises(ValueError, match="^rows 0 to 8 of shard 3: label 7 has no class; give one$"):
        run(Blurs(bad=3), launch="ray", address=cluster.address)
    with pytest.raises(KeyError, match="label 7") as caught:
        run(Blurs(bad=3, error=KeyError), launch="ray", address=cluster.address)
    assert caught.value.__notes__ == ["rows 0 to 8 of shard 3"]


def test_a_node_of_another_kind_is_refused(connected, cluster):
    planned = replace(PLANNED, torch="1.0")
    with pytest.raises(ValueError, match=r"node .* but the run was planned for .*'1.0'.*use nodes of one kind"):
        run(Blurs(runtime=planned), launch="ray", address=cluster.address)


def test_a_span_whose_workers_keep_dying_says_so():
    import ray

    def get(reference):
        raise ray.exceptions.WorkerCrashedError

    engine = SimpleNamespace(get=get, exceptions=ray.exceptions)
    with pytest.raises(
        ValueError, match=r"^rows 4 to 8 of shard 1: workers or their nodes died 6 times \(.*: run again$"
    ):
        launching._arrived(engine, None, SPANS[1])


def test_a_node_without_the_checkout_says_where_it_must_lie(tmp_path):
    away = str(tmp_path / "away")
    with pytest.raises(ValueError, match=f"cannot do this .*same path on every node: {away}"):
        launching._span_rows(away, [], [], SPANS[0])


def test_tasks_that_no_node_can_do_are_refused():
    nodes = [{"Alive": True, "Resources": {"CPU": 4.0}}, {"Alive": False, "Resources": {"CPU": 64.0, "GPU": 8.0}}]
    assert launching.slots(nodes, replace(PLANNED, threads=2)) == 2
    assert launching.slots([{"Alive": True, "Resources": {"GPU": 8.0}}], replace(PLANNED, device="cuda")) == 8
    with pytest.raises(ValueError, match="threads is 8, but the largest node has 4 CPUs; lower runtime.threads"):
        launching.check_slots(nodes, replace(PLANNED, threads=8))
    with pytest.raises(ValueError, match="no node of the cluster has a GPU"):
        launching.check_slots(nodes, replace(PLANNED, device="cuda"))


if __name__ == "__main__":
    share(Path(sys.argv[1]))
