"""Ranks in processes of their own, as a launcher starts them: python jobs.py NAME; says JSON lines."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent.parent / "python"))

import torch  # noqa: E402
from torch_jobs import flat, loss_of, mlp  # noqa: E402

import isthmus  # noqa: E402
import isthmus.torch  # noqa: E402

RANK = int(os.environ.get("RANK", "0"))


def say(**what: object) -> None:
    print(json.dumps({"rank": RANK, **what}), flush=True)


def steps_of(model: torch.nn.Module, optimizer: torch.optim.Optimizer, count: int) -> None:
    for step in range(count):
        optimizer.zero_grad()
        loss_of(model, step, RANK).backward()
        optimizer.step()


def ddp() -> None:
    """Averages gradients by itself, then by the worker: which are equal by then."""
    torch.distributed.init_process_group("gloo")
    model = mlp()
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = isthmus.torch.Optimizer(model.named_parameters(), lr=0.125, gradients="reduced")
    steps_of(parallel, optimizer, 5)
    say(parameters=flat(model).tolist())
    optimizer.close()
    torch.distributed.destroy_process_group()


def clipped() -> None:
    """Ranks without DDP, of uneven weights, that clip their mean; in step 2, rank 1 has nothing usable."""
    torch.distributed.init_process_group("gloo")
    model = mlp()
    optimizer = isthmus.torch.Optimizer(model.named_parameters(), lr=0.125, max_norm=0.25)
    optimizer.samples = 1 + 2 * RANK
    for step in range(5):
        optimizer.zero_grad()
        loss_of(model, step, RANK).backward()
        if step == 2 and RANK == 1:
            model[0].weight.grad.fill_(float("inf"))
            optimizer.skip()
        before = flat(model)
        optimizer.step()
        if step == 2:
            assert torch.equal(before, flat(model))
    say(parameters=flat(model).tolist())
    optimizer.close()
    torch.distributed.destroy_process_group()


def ddp_local() -> None:
    torch.distributed.init_process_group("gloo")
    model = mlp()
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = isthmus.torch.LocalSteps(torch.optim.AdamW(model.parameters(), lr=0.01), model)
    steps_of(parallel, optimizer, 6)
    say(parameters=flat(model).tolist())
    optimizer.close()
    torch.distributed.destroy_process_group()


def doomed() -> None:
    """Rank 1 is killed before its fourth step, the first time."""
    model = mlp()
    optimizer = isthmus.torch.Optimizer(model.named_parameters(), lr=0.01)
    first = optimizer.round
    say(begins=first)
    for step in range(first, 8):
        if RANK == 1 and first == 0 and step == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        optimizer.zero_grad()
        loss_of(model, step, RANK).backward()
        began = time.monotonic()
        try:
            optimizer.step()
        except isthmus.Aborted as why:
            say(aborted=str(why), seconds=time.monotonic() - began)
            sys.exit(3)
    say(round=optimizer.round, parameters=flat(model).tolist())
    optimizer.close()


if __name__ == "__main__":
    {"clipped": clipped, "ddp": ddp, "ddp_local": ddp_local, "doomed": doomed}[sys.argv[1]]()
