"""Jobs whose ranks are processes: DistributedDataParallel, and a rank that is killed."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
from conftest import PATIENCE

torch = pytest.importorskip("torch")

from torch_jobs import flat, loss_of, mlp  # noqa: E402

JOBS = pathlib.Path(__file__).resolve().parent / "jobs.py"


def start(run, job, rank, ranks, port=0):
    launcher = {
        "ISTHMUS_SOCKET": run.socket(),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    return subprocess.Popen([sys.executable, JOBS, job], env={**os.environ, **launcher}, stdout=subprocess.PIPE, text=True)


def ends(processes):
    """The exit code of each, and the last line that it said."""
    said = [process.communicate(timeout=2 * PATIENCE)[0].splitlines() for process in processes]
    return [(process.returncode, json.loads(lines[-1])) for process, lines in zip(processes, said)]


def free_port():
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_distributed_data_parallel_trains_as_one_process(deploy):
    run = deploy("--scheme", "full", "--optimizer", "sgd", "--sgd-momentum", "0", "--values", "f32", ranks=2)
    port = free_port()
    (_, one), (_, other) = ends([start(run, "ddp", rank, 2, port) for rank in (0, 1)])
    assert one["parameters"] == other["parameters"]
    alone = mlp()
    reference = torch.optim.SGD(alone.parameters(), lr=0.125)
    for step in range(5):
        reference.zero_grad()
        ((loss_of(alone, step, 0) + loss_of(alone, step, 1)) / 2).backward()
        reference.step()
    assert torch.allclose(torch.tensor(one["parameters"]), flat(alone), rtol=1e-5, atol=1e-6)


def test_the_norm_of_the_sites_mean_is_clipped(deploy):
    run = deploy("--scheme", "full", "--optimizer", "sgd", "--sgd-momentum", "0", "--values", "f32", ranks=2)
    port = free_port()
    (_, one), (_, other) = ends([start(run, "clipped", rank, 2, port) for rank in (0, 1)])
    assert one["parameters"] == other["parameters"]
    alone = mlp()
    reference = torch.optim.SGD(alone.parameters(), lr=0.125)
    for step in (0, 1, 3, 4):
        reference.zero_grad()
        ((loss_of(alone, step, 0) + 3 * loss_of(alone, step, 1)) / 4).backward()
        assert torch.nn.utils.clip_grad_norm_(alone.parameters(), 0.25) > 0.25
        reference.step()
    assert torch.allclose(torch.tensor(one["parameters"]), flat(alone), rtol=1e-5, atol=1e-6)


def test_distributed_data_parallel_with_local_steps(deploy):
    run = deploy("--scheme", "local", "--every", "3 steps", "--values", "f32", ranks=2)
    port = free_port()
    (_, one), (_, other) = ends([start(run, "ddp_local", rank, 2, port) for rank in (0, 1)])
    assert one["parameters"] == other["parameters"]
    alone = mlp()
    reference = torch.optim.AdamW(alone.parameters(), lr=0.01)
    for step in range(6):
        reference.zero_grad()
        ((loss_of(alone, step, 0) + loss_of(alone, step, 1)) / 2).backward()
        reference.step()
    assert torch.allclose(torch.tensor(one["parameters"]), flat(alone), rtol=1e-3, atol=1e-5)


def test_a_killed_rank_aborts_the_others_and_the_restarted_script_goes_on(deploy):
    run = deploy("--scheme", "full", ranks=2)
    ranks = [start(run, "doomed", rank, 2) for rank in (0, 1)]
    (code, survivor), (killed, _) = ends(ranks)
    assert (code, killed) == (3, -9)
    assert "rank 1" in survivor["aborted"]
    print(f"the other rank heard of it {survivor['seconds']:.3f} s into its step")
    assert survivor["seconds"] < PATIENCE
    assert run.processes["worker-1"].poll() is None
    (code, one), (other_code, other) = ends([start(run, "doomed", rank, 2) for rank in (0, 1)])
    assert (code, other_code) == (0, 0)
    assert one["round"] == other["round"] == 8
    assert one["parameters"] == other["parameters"]
