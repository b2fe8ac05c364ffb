"""What isthmus.torch adds to a step. See scripts/bench-python.

Steps by the package and steps by isthmus_step() alone, which a C program would call, are taken in turns
in one process, on one session and the same buffers: what one machine's noise does to one, it does to
both. Of each the median, and the median of the differences of neighbours.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

import torch
from conftest import Deployment

import isthmus.torch
from isthmus import _abi

BEGIN, END = "<!-- bench-python -->\n", "<!-- end of bench-python -->\n"
MODELS = {  # layers, width: matrices and vectors as a transformer has them
    "small": (8, 128),
    "large": (20, 256),
}
RANKS = {"cpu": ("cpu:1",), "cuda": ("cuda:0",)}  # of a worker


def model_of(layers: int, width: int) -> torch.nn.Module:
    return torch.nn.ModuleList(
        torch.nn.ModuleList(
            [torch.nn.LayerNorm(width), torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width), torch.nn.LayerNorm(width)]
        )
        for _ in range(layers)
    )


def seconds_of(call: Callable[[], object], device: str) -> float:
    """Until the GPU, if there is one, has done what was asked of it as well."""
    start = time.perf_counter()
    call()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def in_turns(
    one: Callable[[], object], other: Callable[[], object], pairs: int, device: str
) -> tuple[float, float, float]:
    """Medians of both, and of what `one` took more than its neighbour; in ABBA order."""
    ones, others = [], []
    for pair in range(pairs):
        for mine in (True, False) if pair % 2 == 0 else (False, True):
            (ones if mine else others).append(seconds_of(one if mine else other, device))
    return statistics.median(ones), statistics.median(others), statistics.median(a - b for a, b in zip(ones, others))


def c_step(optimizer: isthmus.torch.Optimizer, rate: float, device: str) -> Callable[[], object]:
    """isthmus_step() as a C program calls it, on the optimizer's session."""
    session = optimizer._binding.attached
    rates, decays = (ctypes.c_float * 1)(rate), (ctypes.c_float * 1)(0)
    stream = torch.cuda.current_stream().cuda_stream if device == "cuda" else None
    args = _abi.StepArgs(lr=rates, weight_decay=decays, parameter_groups=1, samples=1, stream=stream)
    result = _abi.StepResult()
    call, handle = session._library.isthmus_step, session._handle
    at_args, at_result = ctypes.byref(args), ctypes.byref(result)

    def step() -> None:
        if call(handle, at_args, at_result) != _abi.OK:
            raise SystemExit("bench-python: isthmus_step failed")

    return step


def per_step(folder: pathlib.Path, shape: tuple[int, int], pairs: int, device: str) -> list[str]:
    run = Deployment(folder, 1, 1, ("--scheme", "flexdemo"), RANKS[device])
    try:
        model = model_of(*shape).to(device)
        optimizer = isthmus.torch.Optimizer(model.named_parameters(), lr=0.001, socket=run.socket())
        optimizer.zero_grad()
        generator = torch.Generator().manual_seed(1)
        for parameter in model.parameters():
            parameter.grad.copy_(torch.randn(parameter.shape, generator=generator))
        raw = c_step(optimizer, 0.001, device)
        in_turns(optimizer.step, raw, 5, device)  # what is touched first
        package, alone, more = in_turns(optimizer.step, raw, pairs, device)
        optimizer.close()
    finally:
        run.stop()
    return [f"{alone * 1e3:.2f} ms", f"{package * 1e3:.2f} ms", f"{more * 1e6:.0f} µs", f"{more / alone:.1%}"]


def not_due(folder: pathlib.Path, shape: tuple[int, int], pairs: int, device: str) -> list[str]:
    run = Deployment(folder, 1, 1, ("--scheme", "local", "--every", "1000000 steps"), RANKS[device])
    try:
        model = model_of(*shape).to(device)
        own = torch.optim.SGD(model.parameters(), lr=0.0)  # without gradients: nothing to do
        optimizer = isthmus.torch.LocalSteps(own, model, socket=run.socket())
        in_turns(optimizer.step, own.step, 20, device)
        package, alone, more = in_turns(optimizer.step, own.step, 20 * pairs, device)
        optimizer.close()
    finally:
        run.stop()
    return [f"{alone * 1e6:.1f} µs", f"{package * 1e6:.1f} µs", f"{more * 1e6:.1f} µs", ""]


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench-python", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=200, help="of each kind (default: 200)")
    parser.add_argument("--device", choices=RANKS, default="cpu", help="where parameters are (default: cpu)")
    parser.add_argument("--write", metavar="FILE", type=pathlib.Path, help="write the table into this file, between its marks")
    args = parser.parse_args()
    if args.steps < 10:
        parser.error("--steps: at least 10")
    torch.set_num_threads(1)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in MODELS.items():
            count = sum(p.numel() for p in model_of(*shape).parameters())
            for what, measure in (("`Optimizer`, beside isthmus_step()", per_step), ("`LocalSteps`, not due, beside its optimizer", not_due)):
                place = pathlib.Path(folder, str(len(rows)))
                place.mkdir()
                rows.append(f"| {what} | {count / 1e6:.1f} M, {len(list(model_of(*shape).parameters()))} tensors | "
                            + " | ".join(measure(place, shape, args.steps, args.device)) + " |")  # fmt: skip
                print(rows[-1], file=sys.stderr, flush=True)
    device = [] if args.device == "cpu" else ["--device", args.device]
    command = " ".join(["scripts/bench-python", *device, *(["--steps", str(args.steps)] if args.steps != 200 else []), "--write", "docs/pytorch.md"])
    text = f"""Made on {datetime.date.today()} with {torch.cuda.get_device_name() if device else f"{os.cpu_count()} cores"} and PyTorch {torch.__version__.split("+")[0]}, medians of
{args.steps} steps each taken in turns, by

    {command}

| step | model | alone | with the package | more | of that |
| --- | --- | --- | --- | --- | --- |
""" + "\n".join(rows)
    if args.write:
        before, begin, rest = args.write.read_text().partition(BEGIN)
        _, end, after = rest.partition(END)
        if not (begin and end):
            sys.exit(f"bench-python: expected the lines {BEGIN.strip()} and {END.strip()} in {args.write}")
        args.write.write_text(before + begin + "\n" + text + "\n\n" + end + after)
    else:
        print(text)


if __name__ == "__main__":
    main()
