"""isthmus.torch on a GPU: parameters and gradients in its memory, streams, and a site of CPUs beside it."""

import math

import pytest
from conftest import together

torch = pytest.importorskip("torch")

from torch_jobs import flat, mlp  # noqa: E402

import isthmus  # noqa: E402
import isthmus.torch  # noqa: E402

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="PyTorch finds no GPU")

FULL = ("--scheme", "full", "--optimizer", "sgd", "--sgd-momentum", "0", "--values", "f32")
GPU = "cuda:0"


def loss_on(model, step, part=0):
    """Of a model wherever it is and of whatever dtype; the batch is drawn on the CPU."""
    parameter = next(model.parameters())
    generator = torch.Generator().manual_seed(1000 * step + part)
    inputs = torch.randn(16, 16, generator=generator).to(parameter)
    return (model(inputs) ** 2).mean()


def train(model, optimizer, steps, part=0):
    for step in range(steps):
        optimizer.zero_grad()
        loss = loss_on(model, step, part)
        loss.backward()
        optimizer.loss = loss
        optimizer.step()
    return loss.item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_site_on_a_gpu_and_one_on_cpus_hold_the_same_bits(deploy, dtype):
    run = deploy("--rounds", "12", "--audit-rounds", "1", sites=2, devices=(GPU, "cpu:1"))

    def site(number, device):
        model = mlp(seed=number, dtype=dtype).to(device)
        optimizer = isthmus.torch.Optimizer(model.named_parameters(), lr=0.01, socket=run.socket(number))
        train(model, optimizer, 12, part=number)
        assert optimizer.copies == 0
        return flat(model).cpu()

    on_gpu, on_cpu = together(lambda: site(1, "cuda"), lambda: site(2, "cpu"))
    assert torch.equal(on_gpu, on_cpu)
    assert len(run.hashes()) == 1


def test_buffers_are_memory_of_the_gpu(deploy):
    run = deploy(*FULL, devices=(GPU,))
    with isthmus.Session([isthmus.Tensor("w", (4, 8))], socket=run.socket(), device=True) as session:
        parameter = torch.from_dlpack(session.parameters[0])
        assert parameter.device.type == "cuda" and parameter.dtype == torch.float32 and parameter.numel() == 32
        with pytest.raises(isthmus.FailedPrecondition, match="on a device"):
            session.parameters[0].memory()
        again = torch.from_dlpack(session.parameters[0])
        assert again.data_ptr() == parameter.data_ptr()
    parameter.add_(1)  # it stays valid
    assert parameter.sum().item() == 32


def test_a_gradient_of_another_stream_is_waited_for(deploy):
    run = deploy(*FULL, devices=(GPU,))
    model = torch.nn.Linear(64, 64, bias=False).to("cuda")
    optimizer = isthmus.torch.Optimizer(model.named_parameters(), lr=1.0, socket=run.socket())
    before = model.weight.detach().clone()
    optimizer.zero_grad()
    torch.cuda.synchronize()
    aside = torch.cuda.Stream()
    with torch.cuda.stream(aside):
        torch.cuda._sleep(200_000_000)  # some 0.1 s: whoever does not wait takes zeros
        model.weight.grad.fill_(0.5)
        optimizer.step()
        after = model.weight.detach().clone()
    aside.synchronize()
    assert torch.equal(after, before - 0.5)
    optimizer.close()


def test_steps_follow_each_other_without_a_look_at_the_gpu(deploy):
    """What a step makes of parameters is there for the next forward pass on the stream, unsynchronized."""
    run = deploy(*FULL, devices=(GPU,))
    here, there = mlp().to("cuda"), mlp().to("cuda")
    optimizer = isthmus.torch.Optimizer(here.named_parameters(), lr=0.125, socket=run.socket())
    ours, theirs = train(here, optimizer, 20), train(there, torch.optim.SGD(there.parameters(), lr=0.125), 20)
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert torch.allclose(flat(here), flat(there), rtol=1e-4, atol=1e-6)
    optimizer.close()


@pytest.mark.parametrize("overlap", [0, 2])
def test_local_steps_of_a_gpu_and_of_cpus(deploy, overlap):
    run = deploy("--scheme", "local", "--every", "4 steps", "--overlap", str(overlap), "--values", "2bit", "--rounds", "3",
                 sites=2, devices=(GPU, "cpu:1"))  # fmt: skip

    def site(number, device):
        model = mlp(seed=number).to(device)
        own = torch.optim.AdamW(model.parameters(), lr=0.01)
        optimizer = isthmus.torch.LocalSteps(own, model, socket=run.socket(number))
        anchors = []
        while not optimizer.ended:
            train(model, optimizer, 1, part=number)
            if optimizer.last.exchanged:
                anchors.append(optimizer.read_anchor())
        return anchors, flat(model).cpu()

    (anchors, end), (others, other) = together(lambda: site(1, "cuda"), lambda: site(2, "cpu"))
    assert torch.equal(end, other)
    for one, two in zip(anchors, others):
        assert all(torch.equal(one[name], two[name]) for name in one)
    assert math.isfinite(end.sum().item()) and len(run.hashes()) == 1


def test_an_infinity_on_the_gpu_sits_the_round_out(deploy):
    run = deploy(*FULL, "--rounds", "3", devices=(GPU,))
    model = mlp().to("cuda")
    optimizer = isthmus.torch.Optimizer(model.named_parameters(), lr=0.125, socket=run.socket())
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0)
    before = flat(model)
    optimizer.zero_grad()
    scaler.scale(loss_on(model, 0) * math.inf).backward()
    scaler.step(optimizer)
    scaler.update()
    assert torch.equal(flat(model), before)
    assert scaler.get_scale() == 1.0
    optimizer.close()
