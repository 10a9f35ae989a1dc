"""How fast activations are captured: against a plain forward pass with hooks on a CPU, and against the peak of a GPU.

    python -m benchmarks.capture_speed                    # CPU, the 296M network: about three minutes
    python -m benchmarks.capture_speed --bfloat16         # also where the CPU has no bfloat16 units: minutes an image
    python -m benchmarks.capture_speed --device cuda --images 256   # precisions and layouts; with reading and writing
    python -m benchmarks.capture_speed --small            # a smoke run of either, with a tiny network

The network has the published ImageNet 64x64 shape and random weights, the last convolutions of each block included (fresh
ones are zero there). On a CPU each side runs in its own process: `full` is a user's loop, a whole forward pass with forward
hooks on the bottleneck and the midblock; the others are modescope's capture, with `runtime.keep_memory`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from modescope import files, runtime
from modescope.capturing import Captures, Lens, Look, capture_batch, capture_noise, flatten
from modescope.edm import IMAGENET64, Block, EDMPrecond
from modescope.generators import Generator, edm_layers
from modescope.runtime import arithmetic

LAYERS = ("encoder_bottleneck", "midblock")
SMALL = IMAGENET64 | {"img_resolution": 16, "model_channels": 32, "channel_mult": (1, 2), "num_blocks": 1}
PEAK = {"float32": 67e12, "tf32": 494e12, "bfloat16": 989e12}  # products of an H100 or H200 SXM, dense, per second
FORMS = ("plain", "channels-last", "compiled")


def build(small: bool, device: str) -> Generator:
    torch.manual_seed(0)
    network = EDMPrecond(**(SMALL if small else IMAGENET64)).eval().requires_grad_(False)
    for parameter in network.parameters():
        if parameter.ndim > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    size = network.img_resolution
    return Generator(
        family="edm",
        network=network.to(device),
        config={},
        layers=edm_layers(network),
        checkpoint_hash="",
        latent_shape=(3, size, size),
        num_classes=network.label_dim,
    )


def made(generator: Generator, count: int) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Random images, ids and labels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, *generator.latent_shape), dtype=np.uint8)
    return pixels, [f"real/{i}" for i in range(count)], np.arange(count) % generator.num_classes


def rate(run: Callable[[], Any], images: int, repeats: int, device: str) -> float:
    """Images per second, best of the repeats, after one run that pays for preparations."""
    times = _times(run, repeats, device)
    return images / min(wall for wall, _ in times[1:] or times)


def _times(run: Callable[[], Any], repeats: int, device: str) -> list[tuple[float, float]]:
    """Seconds by the clock and of this process's CPU time, of one run more than the repeats."""
    times = []
    for _ in range(repeats + 1):
        start, used = time.perf_counter(), time.process_time()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append((time.perf_counter() - start, time.process_time() - used))
    return times


def with_hooks(generator: Generator, pixels: np.ndarray, ids: list[str], labels: np.ndarray) -> dict[str, torch.Tensor]:
    """What a user would write: the whole pass, and forward hooks that keep two outputs."""
    kept: dict[str, torch.Tensor] = {}
    modules = dict(generator.network.named_modules())
    handles = [
        modules[path].register_forward_hook(lambda module, inputs, output, name=name: kept.update({name: output}))
        for name, path in generator.module_paths(LAYERS).items()
    ]
    noised = generator.encode(pixels) + 0.4 * capture_noise(ids, generator.latent_shape, root=0)
    with torch.no_grad():
        generator.network(noised, torch.full((len(noised),), 0.4), generator.rows(labels))
    for handle in handles:
        handle.remove()
    return kept


def run_side(side: str, small: bool, images: int, repeats: int, folder: Path) -> dict[str, float]:
    generator = build(small, "cpu")
    pixels, ids, labels = made(generator, images)
    if side == "full":
        return _timed(lambda: with_hooks(generator, pixels, ids, labels), images, repeats, folder / "full.npy")
    runtime.keep_memory()
    look = Look(layers=LAYERS, sigmas=(0.4,), precision=side)
    cast = generator.cast(side)
    return _timed(lambda: capture_batch(cast, pixels, ids, labels, look), images, repeats, folder / f"{side}.npy")


def _timed(run: Callable[[], dict[str, torch.Tensor]], images: int, repeats: int, path: Path) -> dict[str, float]:
    found: dict[str, torch.Tensor] = {}
    times = _times(lambda: found.update(run()), repeats, "cpu")
    files.write_array(path, flatten(found))
    wall, used = (images / min(column) for column in zip(*times[1:] or times, strict=True))
    return {"wall": wall, "cpu": used}


def compare(small: bool, images: int, repeats: int, bfloat16: bool, threads: int) -> None:
    """The sides on a CPU, one process each."""
    fast = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    print("images a second by the clock, and a second of CPU time; the largest error as a share of the largest value")
    print(f"{'side':10} {'clock':>8} {'ratio':>7} {'CPU':>8} {'ratio':>7} {'error':>9}")
    with tempfile.TemporaryDirectory() as name:
        speeds: dict[str, dict[str, float]] = {}
        for side in ("full", "float32", "winograd", *(["bfloat16"] if fast or bfloat16 else [])):
            slow = side == "bfloat16" and not fast
            asked = {"images": 1 if slow else images, "repeats": 0 if slow else repeats, "threads": threads}
            command = [sys.executable, "-m", "benchmarks.capture_speed", "--side", side, "--folder", name]
            command += [f"--{option}={value}" for option, value in asked.items()] + ["--small"] * small
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            speeds[side] = json.loads(output.splitlines()[-1])
            exact, found = (np.load(Path(name, f"{which}.npy")) for which in ("full", side))
            exact = exact[: len(found)]
            error = np.abs(found - exact).max() / np.abs(exact).max()
            columns = (f"{speed:8.3f} {speed / speeds['full'][kind]:7.2f}" for kind, speed in speeds[side].items())
            print(f"{side:10} {' '.join(columns)} {error:9.1e}", flush=True)
    if not fast and not bfloat16:
        print("bfloat16: left out, this CPU has no units for it (--bfloat16 runs one image)")


def shaped(generator: Generator, form: str) -> Generator:
    """The generator in another memory layout, or with its blocks compiled; taps stay outside of what is compiled."""
    if form == "channels-last":
        generator.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if form == "compiled":
        torch._dynamo.config.recompile_limit = 64  # blocks share their code: one compilation per shape
        for module in generator.network.modules():
            if isinstance(module, Block):
                module.forward = torch.compile(module.forward)  # type: ignore[method-assign]
    return generator


def work(run: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def device_rows(small: bool, device: str, batch: int, repeats: int) -> Iterator[str]:
    """Capture and generation for every precision and form: images per second, and the share of peak on a GPU."""
    for precision in PEAK:
        for form in FORMS:
            generator = shaped(build(small, device).cast(precision), form)
            pixels, ids, labels = made(generator, batch)
            x, rows = generator.encode(pixels), generator.rows(labels)
            noise = capture_noise(ids, generator.latent_shape, root=0).to(device)
            lens = Lens(generator, Look(layers=LAYERS, sigmas=(0.4,), precision=precision))
            level = torch.full((batch,), 80.0, device=device)

            def capture(lens: Lens = lens, x: Any = x, noise: Any = noise, rows: Any = rows) -> Any:
                return lens.images(x, noise, rows)

            @torch.no_grad()
            def generate(
                generator: Generator = generator, noise: Any = noise, rows: Any = rows, level: Any = level
            ) -> Any:
                return generator.denoise(noise * 80, level, rows)

            for what, run in (("capture", capture), ("generate", generate)):
                with arithmetic(precision):
                    speed = rate(run, batch, repeats, device)
                    share = f"{speed * work(run) / batch / PEAK[precision]:7.1%}" if device == "cuda" else ""
                yield f"{precision:9} {form:14} {what:9} {speed:10.2f} {share}"


def pipeline_rows(small: bool, device: str, batch: int, images: int) -> Iterator[str]:
    """bfloat16 capture of stored images: the network with reading and writing, then reading and writing apart."""
    generator = build(small, device).cast("bfloat16")
    pixels, ids, labels = made(generator, images)
    with tempfile.TemporaryDirectory() as name:
        source, target = Path(name, "images.npy"), Path(name, "values.npy")
        files.write_array(source, pixels)
        stored = files.read_array(source, mapped=True)
        look = Look(layers=LAYERS, sigmas=(0.4,), precision="bfloat16")
        captures = Captures(
            network=generator, read=lambda rows: stored[rows], ids=ids, labels=labels, look=look, batch_size=batch
        )
        kept: list[np.ndarray] = []

        def whole() -> None:
            for values in captures:
                kept[:] = [flatten(values).astype(np.float16)]
                files.write_array(target, kept[0])

        def read() -> None:
            for begin in range(0, images, batch):
                part = np.arange(begin, min(begin + batch, images))
                generator.encode(stored[part])
                capture_noise([ids[i] for i in part], generator.latent_shape, root=0)

        for what, run, count in (
            ("read, network, write", whole, images),
            ("reading and noise", read, images),
            ("writing", lambda: files.write_array(target, kept[0]), len(kept[0]) if kept else batch),
        ):
            yield f"{what:34} {rate(run, count, 1, device):10.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], help="time precisions and layouts on a device")
    parser.add_argument("--small", action="store_true", help="a tiny network")
    parser.add_argument("--images", type=int, default=16, help="of a batch (default 16; 256 suits a GPU)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--threads", type=int, default=0, help="of the CPU (default: one per core; 1 on a busy machine)"
    )
    parser.add_argument("--bfloat16", action="store_true", help="on a CPU without units for it, too")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    runtime.start(given.device or "cpu", given.threads)
    if given.side:
        print(json.dumps(run_side(given.side, given.small, given.images, given.repeats, given.folder)))
    elif given.device is None:
        compare(given.small, given.images, given.repeats, given.bfloat16, given.threads)
    else:
        print(f"{'precision':9} {'form':14} {'what':9} {'images/s':>10}   share of peak")
        for line in device_rows(given.small, given.device, given.images, given.repeats):
            print(line, flush=True)
        for line in pipeline_rows(given.small, given.device, given.images, 8 * given.images):
            print(line, flush=True)


if __name__ == "__main__":
    main()
