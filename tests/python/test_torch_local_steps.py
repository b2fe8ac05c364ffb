"""isthmus.torch.LocalSteps, against real coordinators and workers."""

import copy
import math
import pickle
import timeit

import pytest
from conftest import together

torch = pytest.importorskip("torch")

from torch_jobs import flat, loss_of, mlp, train  # noqa: E402

import isthmus  # noqa: E402
import isthmus.torch  # noqa: E402

EXACT = ("--scheme", "local", "--every", "4 steps", "--values", "f32")


def wrap(run, model, optimizer, site=1, rank=0, **settings):
    return isthmus.torch.LocalSteps(optimizer, model, socket=run.socket(site), local_rank=rank, **settings)


def adamw(model):
    return torch.optim.AdamW(model.parameters(), lr=0.01)


class MuonOfMatrices(torch.optim.Optimizer):
    """Muon for matrices and AdamW for the rest, as one optimizer: what people write for themselves."""

    def __init__(self, model):
        matrices = [p for p in model.parameters() if p.ndim == 2]
        rest = [p for p in model.parameters() if p.ndim != 2]
        self.parts = [torch.optim.Muon(matrices, lr=0.02, adjust_lr_fn="match_rms_adamw"), torch.optim.AdamW(rest, lr=0.01)]
        super().__init__(matrices + rest, {"lr": 0.02})

    def step(self, closure=None):
        for part in self.parts:
            part.step()


OPTIMIZERS = {
    "AdamW": adamw,
    "SGD": lambda model: torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9),
    "AdamW, foreach": lambda model: torch.optim.AdamW(model.parameters(), lr=0.01, foreach=True),
    "AdamW, fused": lambda model: torch.optim.AdamW(model.parameters(), lr=0.01, fused=True),
    "Muon": MuonOfMatrices,
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_two_changed_lines_keep_the_jobs_optimizer(deploy, name):
    if name == "Muon" and not hasattr(torch.optim, "Muon"):
        pytest.skip(f"torch {torch.__version__} has no torch.optim.Muon")
    run = deploy("--scheme", "local", "--every", "5 steps", "--values", "2bit", "--rounds", "12", "--audit-rounds", "1", sites=2)

    def site(number):
        model = mlp(seed=number)
        optimizer = wrap(run, model, OPTIMIZERS[name](model), number, every=5)
        start = flat(model)
        losses = train(model, optimizer, 60, part=number)
        end = flat(model)
        optimizer.close()
        return start, losses, end

    one, other = together(lambda: site(1), lambda: site(2))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[2], other[2])
    for _, losses, _ in (one, other):
        assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_a_site_alone_trains_as_without(deploy):
    run = deploy(*EXACT)
    here, there = mlp(), mlp()
    optimizer = wrap(run, here, adamw(here))
    train(here, optimizer, 12)
    train(there, adamw(there), 12)
    assert torch.allclose(flat(here), flat(there), rtol=1e-5, atol=1e-6)
    assert optimizer.info.run_steps == 12
    optimizer.close()


def test_ranks_of_a_site_average_how_far_they_have_gone(deploy):
    run = deploy(*EXACT, sites=1, ranks=2)

    def rank(number):
        model = mlp()
        optimizer = wrap(run, model, torch.optim.SGD(model.parameters(), lr=0.125), rank=number)
        train(model, optimizer, 4, part=number)
        end = flat(model)
        optimizer.close()
        alone = mlp()
        train(alone, torch.optim.SGD(alone.parameters(), lr=0.125), 4, part=number)
        return end, flat(alone)

    (one, first), (other, second) = together(lambda: rank(0), lambda: rank(1))
    assert torch.equal(one, other)
    assert torch.allclose(one, (first + second) / 2, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("overlap", [0, 2])
def test_the_anchor_is_what_sites_have_in_common(deploy, overlap):
    run = deploy(*EXACT, "--overlap", str(overlap), sites=2)

    def site(number):
        model = mlp()
        optimizer = wrap(run, model, adamw(model), number)
        anchors = []
        for step in range(14):
            train(model, optimizer, 1, part=number, first=step)
            anchors.append(optimizer.read_anchor())
        before = flat(model)
        optimizer.close()
        return anchors, before

    (ours, one), (theirs, other) = together(lambda: site(1), lambda: site(2))
    for here, there in zip(ours, theirs):
        assert list(here) == ["0.weight", "0.bias", "2.weight", "2.bias"]
        for name in here:
            assert here[name].shape == there[name].shape
            assert torch.equal(here[name], there[name])
    assert not torch.equal(one, other)  # each has gone on from there


def test_schedulers_drive_the_wrapped_optimizer(deploy):
    run = deploy(*EXACT)
    here, there = mlp(), mlp()
    optimizer = wrap(run, here, adamw(here))
    reference = adamw(there)
    for model, one in ((here, optimizer), (there, reference)):
        scheduler = torch.optim.lr_scheduler.OneCycleLR(one, 0.02, total_steps=20)
        train(model, one, 8, each=lambda step: scheduler.step())
    assert optimizer.param_groups[0]["lr"] == reference.param_groups[0]["lr"]
    assert torch.allclose(flat(here), flat(there), rtol=1e-4, atol=1e-6)
    optimizer.close()


def test_an_infinity_is_a_step_that_counts_and_is_not_taken(deploy):
    run = deploy("--scheme", "local", "--every", "3 steps", "--values", "f32", ranks=2)

    def rank(number):
        model = mlp()
        optimizer = wrap(run, model, torch.optim.SGD(model.parameters(), lr=0.125), rank=number)
        scaler = torch.amp.GradScaler("cpu", init_scale=256.0)
        exchanged = []
        for step in range(6):
            optimizer.zero_grad()
            loss = loss_of(model, step, number)
            scaler.scale(loss * math.inf if (number, step) == (1, 1) else loss).backward()
            scaler.step(optimizer)
            scaler.update()
            exchanged.append(optimizer.last.exchanged)
        optimizer.close()
        assert torch.isfinite(flat(model)).all()
        return exchanged, flat(model)

    one, other = together(lambda: rank(0), lambda: rank(1))
    assert one[0] == other[0] == [False, False, True, False, False, True]
    assert torch.equal(one[1], other[1])


def test_state_and_settings_are_the_wrapped_optimizers(deploy):
    run = deploy(*EXACT)
    model = mlp()
    inner = adamw(model)
    optimizer = wrap(run, model, inner)
    train(model, optimizer, 3)
    assert optimizer.param_groups is inner.param_groups
    assert optimizer.state is inner.state
    assert optimizer.inner is inner
    other = adamw(mlp())
    other.load_state_dict(optimizer.state_dict())
    optimizer.load_state_dict(other.state_dict())
    train(model, optimizer, 3)
    assert optimizer.info.run_steps == 4
    optimizer.close()


def test_buffers_are_carried_along(deploy):
    run = deploy(*EXACT, sites=2)

    def site(number):
        model = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.BatchNorm1d(8))
        model[1].running_mean.fill_(number)
        model[1].num_batches_tracked.fill_(10 * number)
        optimizer = wrap(run, model, adamw(model), number)
        optimizer.close()
        return model[1].running_mean.tolist(), model[1].num_batches_tracked.item()

    assert together(lambda: site(1), lambda: site(2)) == [([1.0] * 8, 10)] * 2


def test_after_the_end_the_job_may_go_on_alone(deploy):
    run = deploy(*EXACT, "--rounds", "1")
    model = mlp()
    optimizer = wrap(run, model, adamw(model))
    train(model, optimizer, 5)
    assert optimizer.ended
    before = flat(model)
    train(model, optimizer, 1)
    assert not torch.equal(flat(model), before)
    optimizer.close()


def test_both_kinds_of_zero_grad(deploy):
    run = deploy(*EXACT)
    ends = []
    for set_to_none in (False, True):
        model = mlp()
        optimizer = wrap(deploy(*EXACT), model, adamw(model))
        for step in range(4):
            optimizer.zero_grad(set_to_none=set_to_none)
            loss_of(model, step).backward()
            optimizer.step()
        ends.append(flat(model))
        optimizer.close()
    assert torch.equal(*ends)
    assert run.status()["round"] is not None


def test_a_step_that_is_not_due_costs_little(deploy):
    """Not how little, which machines differ in: scripts/bench has that. That nothing is waited for."""
    run = deploy("--scheme", "local", "--every", "1000000 steps", sites=1)
    model = mlp()
    optimizer = wrap(run, model, torch.optim.SGD(model.parameters(), lr=0.0))
    run.processes["worker-1"].send_signal(19)  # SIGSTOP: whoever asked it anything would hang
    seconds = timeit.timeit(optimizer.step, number=100)
    assert seconds > 0
    run.processes["worker-1"].send_signal(18)
    optimizer.close()


# --- misuse --------------------------------------------------------------------------------------------


def test_what_cannot_be_wrapped():
    model, other = mlp(), mlp()
    with pytest.raises(isthmus.InvalidArgument, match="optimizer: expected a torch.optim.Optimizer, got str"):
        isthmus.torch.LocalSteps("adamw", model)
    with pytest.raises(isthmus.InvalidArgument, match="model: expected a torch.nn.Module, got list"):
        isthmus.torch.LocalSteps(adamw(model), list(model.parameters()))
    with pytest.raises(
        isthmus.InvalidArgument, match="parameters of the model, parameter 0 of group 0, of shape \\(32, 16\\), is none"
    ):
        isthmus.torch.LocalSteps(adamw(other), model)
    with pytest.raises(isthmus.InvalidArgument, match="expected one of the job's own, got isthmus.torch.Optimizer"):
        isthmus.torch.LocalSteps(isthmus.torch.Optimizer(model.named_parameters(), attach=False), model)


def test_another_period_than_the_runs_is_refused(deploy):
    run = deploy(*EXACT)
    model = mlp()
    with pytest.raises(
        isthmus.FailedPrecondition, match="every: expected an exchange every 30 steps, the run exchanges every 4 steps"
    ):
        wrap(run, model, adamw(model), every=30)
    wrap(run, model, adamw(model), every=4).close()


def test_a_run_of_the_other_kind_is_refused(deploy):
    model = mlp()
    with pytest.raises(isthmus.FailedPrecondition, match="expected own_optimizer 0"):
        wrap(deploy("--scheme", "full"), model, adamw(model), timeout=5)
    with pytest.raises(isthmus.FailedPrecondition, match="expected own_optimizer 1"):
        isthmus.torch.Optimizer(model.named_parameters(), socket=deploy(*EXACT).socket(), timeout=5)


def test_it_cannot_be_copied_or_pickled(deploy):
    model = mlp()
    optimizer = wrap(deploy(*EXACT), model, adamw(model))
    with pytest.raises(TypeError, match="LocalSteps is a connection to a worker and cannot be copied or pickled"):
        copy.deepcopy(optimizer)
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        pickle.dumps(optimizer)
    optimizer.close()


@pytest.mark.parametrize("how", ["data", "assign", "layer"])
def test_a_parameter_that_was_replaced_is_named(deploy, how):
    model = mlp()
    optimizer = wrap(deploy(*EXACT), model, adamw(model))
    if how == "data":
        model[2].bias.data = model[2].bias.data.clone()
    elif how == "assign":
        others = mlp().state_dict()
        model.load_state_dict({**model.state_dict(), "2.bias": others["2.bias"]}, assign=True)
        model[0].weight, model[0].bias, model[2].weight = (one.parameter for one in optimizer._binding.bound[:3])
    else:
        model[2].bias = torch.nn.Parameter(torch.zeros(8))
    with pytest.raises(isthmus.FailedPrecondition, match="2.bias: expected the parameter in the memory"):
        train(model, optimizer, 1)
    optimizer.close()
