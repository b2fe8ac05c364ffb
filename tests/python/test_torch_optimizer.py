"""isthmus.torch.Optimizer, against real coordinators and workers."""

import io
import math
import pathlib
import sysconfig
import warnings

import pytest
from conftest import together

torch = pytest.importorskip("torch")

from torch_jobs import attach, flat, loss_of, mlp, train  # noqa: E402

import isthmus  # noqa: E402
import isthmus.torch  # noqa: E402

FULL = ("--scheme", "full", "--optimizer", "sgd", "--sgd-momentum", "0", "--values", "f32")


# --- what is trained -----------------------------------------------------------------------------------


def test_two_changed_lines_train_at_two_sites_of_two_ranks(deploy):
    run = deploy("--rounds", "60", "--audit-rounds", "1", sites=2, ranks=2)

    def rank(site, local):
        model = mlp(seed=10 * site + local)  # they start alike, whatever each began with
        optimizer = attach(run, model, site, local, lr=0.01)
        start = flat(model)
        losses = train(model, optimizer, 60, part=2 * site + local)
        return start, losses, flat(model), optimizer

    ranks = together(*(lambda s=s, r=r: rank(s, r) for s in (1, 2) for r in (0, 1)))
    for start, losses, end, optimizer in ranks:
        assert torch.equal(start, ranks[0][0])
        assert torch.equal(end, ranks[0][2])
        assert sum(losses[-10:]) < 0.6 * sum(losses[:10])
        assert optimizer.last.contributors == 2
    assert len(run.hashes()) == 1
    for _, _, _, optimizer in ranks:
        optimizer.close()


@pytest.mark.parametrize(("momentum", "ours"), [(0.0, ("--optimizer", "sgd")), (0.9, ("--optimizer", "nesterov"))])
def test_one_site_of_one_rank_steps_as_torch_does(deploy, momentum, ours):
    run = deploy("--scheme", "full", *ours, "--sgd-momentum", str(momentum), "--values", "f32")
    here, there = mlp(), mlp()
    optimizer = attach(run, here, lr=0.05)
    reference = torch.optim.SGD(there.parameters(), lr=0.05, momentum=momentum, nesterov=momentum > 0)
    assert train(here, optimizer, 20) == pytest.approx(train(there, reference, 20), rel=1e-5)
    assert torch.allclose(flat(here), flat(there), rtol=1e-4, atol=1e-6)
    optimizer.close()


def test_adamw_with_two_groups_steps_as_torch_does(deploy):
    run = deploy("--scheme", "full", "--optimizer", "adamw", "--values", "f32")
    here, there = mlp(), mlp()

    def groups(model, named):
        pairs = list(model.named_parameters())
        if not named:
            pairs = [parameter for _, parameter in pairs]
        return [{"params": pairs[:2], "weight_decay": 0.1}, {"params": pairs[2:], "lr": 0.02}]

    optimizer = isthmus.torch.Optimizer(groups(here, True), lr=0.01, socket=run.socket())
    reference = torch.optim.AdamW(groups(there, False), lr=0.01, weight_decay=0.0)
    train(here, optimizer, 20)
    train(there, reference, 20)
    assert torch.allclose(flat(here), flat(there), rtol=1e-3, atol=1e-5)
    optimizer.close()


def test_two_sites_are_one_job_with_both_batches(deploy):
    run = deploy(*FULL, sites=2)
    alone = mlp()
    reference = torch.optim.SGD(alone.parameters(), lr=0.125)
    for step in range(15):
        reference.zero_grad()
        ((loss_of(alone, step, 1) + loss_of(alone, step, 2)) / 2).backward()
        reference.step()

    def rank(site):
        model = mlp()
        optimizer = attach(run, model, site)
        train(model, optimizer, 15, part=site)
        optimizer.close()
        return flat(model)

    one, other = together(lambda: rank(1), lambda: rank(2))
    assert torch.equal(one, other)
    assert torch.allclose(one, flat(alone), rtol=1e-5, atol=1e-6)


def test_bfloat16_parameters_have_float32_masters(deploy):
    run = deploy(*FULL)
    model = mlp(dtype=torch.bfloat16)
    optimizer = attach(run, model, lr=2.0**-12)
    before = flat(model)
    for _ in range(16):
        optimizer.zero_grad()
        for parameter in model.parameters():
            parameter.grad.fill_(1.0)
        optimizer.step()
    assert torch.equal(flat(model), (before.float() - 2.0**-8).bfloat16())
    optimizer.close()


# --- gradients in shared memory ------------------------------------------------------------------------


@pytest.mark.parametrize("whose", ["optimizer", "model"])
@pytest.mark.parametrize("set_to_none", [False, True])
def test_both_kinds_of_zero_grad_train_alike(deploy, whose, set_to_none):
    run = deploy(*FULL)
    here, there = mlp(), mlp()
    optimizer = attach(run, here)
    reference = torch.optim.SGD(there.parameters(), lr=0.125)
    for step in range(5):
        for model, one in ((here, optimizer), (there, reference)):
            (one if whose == "optimizer" else model).zero_grad(set_to_none=set_to_none)
            loss_of(model, step).backward()
            one.step()
    assert torch.allclose(flat(here), flat(there), rtol=1e-6, atol=1e-7)
    # Of the optimizer's, backward adds to shared memory from the first step on.
    parameters = len(list(here.parameters()))
    assert optimizer.copies == (5 * parameters if (whose, set_to_none) == ("model", True) else
                                parameters if whose == "model" else 0)
    optimizer.close()


def test_nothing_is_copied(deploy):
    run = deploy()
    model = mlp()
    at = {}
    optimizer = attach(run, model)
    for name, parameter in model.named_parameters():
        at[name] = parameter.data_ptr()
    train(model, optimizer, 5)
    assert optimizer.copies == 0
    for name, parameter in model.named_parameters():
        assert parameter.data_ptr() == at[name]
        assert parameter.grad.data_ptr() != at[name]
    optimizer.close()


def test_parameters_without_a_gradient_have_one_of_zero(deploy):
    run = deploy(*FULL)
    model = mlp()
    optimizer = attach(run, model)
    before = flat(model)
    model.zero_grad(set_to_none=True)
    torch.nn.functional.mse_loss(model[0](torch.ones(1, 16)), torch.zeros(1, 32)).backward()
    optimizer.step()
    assert torch.equal(model[2].weight.reshape(-1), before[16 * 32 + 32 : 16 * 32 + 32 + 256])
    assert not torch.equal(flat(model), before)
    optimizer.close()


def test_accumulating_is_one_step(deploy):
    run = deploy(*FULL)
    here, there = mlp(), mlp()
    optimizer = attach(run, here)
    reference = torch.optim.SGD(there.parameters(), lr=0.125)
    for step in range(3):
        optimizer.zero_grad()
        reference.zero_grad()
        for part in range(4):
            (loss_of(here, step, part) / 4).backward()
            (loss_of(there, step, part) / 4).backward()
        optimizer.step()
        reference.step()
    assert torch.allclose(flat(here), flat(there), rtol=1e-6, atol=1e-7)
    assert optimizer.round == 3
    optimizer.close()


def test_one_rank_clips_as_torch_does(deploy):
    run = deploy(*FULL)
    here, there = mlp(), mlp()
    optimizer = attach(run, here, max_norm=0.25)
    reference = torch.optim.SGD(there.parameters(), lr=0.125)
    train(here, optimizer, 5)
    for step in range(5):
        reference.zero_grad()
        loss_of(there, step).backward()
        torch.nn.utils.clip_grad_norm_(there.parameters(), 0.25)
        reference.step()
    assert torch.allclose(flat(here), flat(there), rtol=1e-5, atol=1e-7)
    optimizer.close()


def test_frozen_parameters_stay_out(deploy):
    run = deploy(*FULL)
    model = mlp()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    optimizer = attach(run, model)
    train(model, optimizer, 3)
    assert torch.equal(model[0].weight, before)
    assert optimizer.info.parameters == 32 * 8 + 8
    optimizer.close()


def test_tied_weights_are_attached_once(deploy):
    run = deploy(*FULL)
    model = torch.nn.Sequential(torch.nn.Linear(8, 8, bias=False), torch.nn.Linear(8, 8, bias=False))
    model[1].weight = model[0].weight
    optimizer = attach(run, model)
    assert optimizer.info.parameters == 64
    torch.nn.functional.mse_loss(model(torch.ones(2, 8)), torch.zeros(2, 8)).backward()
    optimizer.step()
    assert model[1].weight is model[0].weight
    optimizer.close()


# --- PyTorch's machinery -------------------------------------------------------------------------------

SCHEDULERS = {
    "LambdaLR": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 0.5**step),
    "MultiplicativeLR": lambda o: torch.optim.lr_scheduler.MultiplicativeLR(o, lambda step: 0.5),
    "StepLR": lambda o: torch.optim.lr_scheduler.StepLR(o, 2),
    "MultiStepLR": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [1, 3]),
    "ConstantLR": lambda o: torch.optim.lr_scheduler.ConstantLR(o, total_iters=2),
    "LinearLR": lambda o: torch.optim.lr_scheduler.LinearLR(o, total_iters=3),
    "ExponentialLR": lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: torch.optim.lr_scheduler.PolynomialLR(o, total_iters=4),
    "CosineAnnealingLR": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 4),
    "CosineAnnealingWarmRestarts": lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
    "CyclicLR": lambda o: torch.optim.lr_scheduler.CyclicLR(o, 0.01, 0.1, cycle_momentum=False),
    "OneCycleLR": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=10, cycle_momentum=False),
    "SequentialLR": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o,
        [torch.optim.lr_scheduler.ConstantLR(o), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)],
        milestones=[2],
    ),
    "ChainedScheduler": lambda o: torch.optim.lr_scheduler.ChainedScheduler(
        [torch.optim.lr_scheduler.ConstantLR(o), torch.optim.lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "ReduceLROnPlateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0),
}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_schedulers_drive_the_rate(deploy, name):
    run = deploy(*FULL)
    here, there = mlp(), mlp()
    optimizer = attach(run, here)
    reference = torch.optim.SGD(there.parameters(), lr=0.125)
    with warnings.catch_warnings():
        warnings.simplefilter("error", category=UserWarning)
        for model, one in ((here, optimizer), (there, reference)):
            scheduler = SCHEDULERS[name](one)
            value = (1.0,) if name == "ReduceLROnPlateau" else ()
            train(model, one, 5, each=lambda step: scheduler.step(*value))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(reference.param_groups[0]["lr"])
    assert torch.allclose(flat(here), flat(there), rtol=1e-5, atol=1e-6)
    optimizer.close()


def test_every_scheduler_of_torch_is_tried():
    from torch.optim import lr_scheduler

    there = {
        name
        for name in lr_scheduler.__all__
        if isinstance(getattr(lr_scheduler, name), type) and name not in ("LRScheduler", "_LRScheduler")
    }
    assert there == set(SCHEDULERS)


def test_a_tensor_for_a_rate(deploy):
    run = deploy(*FULL)
    model = mlp()
    optimizer = attach(run, model, lr=torch.tensor(0.125))
    train(model, optimizer, 2)
    optimizer.close()


def test_an_infinity_at_one_rank_skips_the_site_alone(deploy):
    run = deploy(*FULL, "--deadline", "off", sites=2)

    def rank(site):
        model = mlp()
        optimizer = attach(run, model, site)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
        merged = []
        for step in range(3):
            optimizer.zero_grad()
            loss = loss_of(model, step, site)
            if site == 2 and step == 1:
                loss = loss * math.inf
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            merged.append((optimizer.last.contributors, optimizer.last.merged_here > 0))
        optimizer.close()
        return merged, scaler.get_scale(), flat(model)

    one, other = together(lambda: rank(1), lambda: rank(2))
    assert one[0] == [(2, True), (1, True), (2, True)]
    assert other[0] == [(2, True), (1, False), (2, True)]
    assert one[1] == 1024 and other[1] == 512
    assert torch.equal(one[2], other[2])


def test_a_scaler_trains_as_without(deploy):
    runs = [deploy(*FULL), deploy(*FULL)]
    ends = []
    for run, scaled in zip(runs, (True, False)):
        model = mlp()
        optimizer = attach(run, model)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)
        for step in range(3):
            optimizer.zero_grad()
            scaler.scale(loss_of(model, step)).backward()
            if step == 1:
                scaler.unscale_(optimizer)
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            scaler.step(optimizer)
            scaler.update()
        ends.append(flat(model))
        optimizer.close()
    assert torch.allclose(*ends, rtol=1e-6, atol=1e-7)


def test_skip_and_closure(deploy):
    run = deploy(*FULL)
    model = mlp()
    optimizer = attach(run, model)
    before = flat(model)
    optimizer.zero_grad()
    loss_of(model, 0).backward()
    optimizer.skip()
    optimizer.step()
    assert torch.equal(flat(model), before)

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model, 1)
        loss.backward()
        return loss

    optimizer.samples = 16
    with torch.no_grad():
        loss = optimizer.step(closure)
    assert optimizer.last.loss == pytest.approx(loss.item())
    assert optimizer.info.run_samples == 16
    assert not torch.equal(flat(model), before)
    optimizer.close()


def test_evaluation_between_steps_changes_nothing(deploy):
    run = deploy(*FULL)
    here, there = mlp(), mlp()
    optimizer = attach(run, here)

    def evaluate(_):
        here.eval()
        with torch.no_grad():
            loss_of(here, 99)
        with torch.inference_mode():
            loss_of(here, 98)
        here.train()

    train(here, optimizer, 4, each=evaluate)
    train(there, torch.optim.SGD(there.parameters(), lr=0.125), 4)
    assert torch.allclose(flat(here), flat(there), rtol=1e-6, atol=1e-7)
    optimizer.close()


def test_what_is_saved_is_as_large_as_it_is(deploy):
    run = deploy()
    model = mlp()

    def size():
        file = io.BytesIO()
        torch.save(model.state_dict(), file)
        return len(file.getvalue())

    before = size()
    optimizer = attach(run, model)
    train(model, optimizer, 1)
    assert size() <= before + 256
    optimizer.close()
    assert torch.isfinite(flat(model)).all()  # the model outlives the session


def test_state_dict_has_settings_and_the_round_and_no_momentum(deploy):
    run = deploy()
    model = mlp()
    optimizer = attach(run, model)
    train(model, optimizer, 2)
    saved = optimizer.state_dict()
    assert saved["isthmus"] == {"round": 2}
    assert all(set(state) == {"step"} for state in saved["state"].values())
    saved["param_groups"][0]["lr"] = 0.5
    before = flat(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["lr"] == 0.5
    saved["isthmus"]["round"] = 77
    with pytest.warns(RuntimeWarning, match="the checkpoint is of round 77, the run is at 2"):
        optimizer.load_state_dict(saved)
    assert torch.equal(flat(model), before)
    train(model, optimizer, 1)
    optimizer.close()


def test_frameworks_may_attach_later(deploy):
    run = deploy()
    model = mlp()
    optimizer = attach(run, model, attach=False)
    optimizer.load_state_dict(optimizer.state_dict())  # as Accelerate does
    assert len(optimizer.state) == 0
    loss_of(model, 0).backward()
    optimizer.step()
    assert optimizer.round == 1
    optimizer.close()


def test_the_end_of_the_run_is_quiet(deploy):
    run = deploy("--rounds", "2")
    model = mlp()
    optimizer = attach(run, model)
    train(model, optimizer, 2)
    end = flat(model)
    assert not optimizer.ended
    train(model, optimizer, 3)
    assert optimizer.ended
    assert torch.equal(flat(model), end)
    optimizer.close()


def test_data_is_split_among_all_ranks_of_all_sites(deploy):
    run = deploy(sites=2, ranks=2)

    def rank(site, local):
        optimizer = attach(run, mlp(), site, local)
        split = optimizer.data_split(), optimizer.data_split(0, 1)
        optimizer.close()
        return split

    splits = together(*(lambda s=s, r=r: rank(s, r) for s in (1, 2) for r in (0, 1)))
    assert [split[0] for split in splits] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert [split[1] for split in splits] == [(0, 2), (0, 2), (1, 2), (1, 2)]


@pytest.mark.parametrize("backend", ["eager", "inductor"])
def test_a_compiled_model_trains(deploy, backend):
    if backend == "inductor" and not pathlib.Path(sysconfig.get_path("include"), "Python.h").exists():
        pytest.skip("inductor compiles against Python.h, which is not there (python3-dev)")
    run = deploy(*FULL)
    here, there = mlp(), mlp()
    compiled = torch.compile(here, backend=backend)
    optimizer = attach(run, here)
    train(compiled, optimizer, 3)
    train(there, torch.optim.SGD(there.parameters(), lr=0.125), 3)
    assert torch.allclose(flat(here), flat(there), rtol=1e-5, atol=1e-6)
    optimizer.close()


@pytest.mark.filterwarnings("default::UserWarning")  # of the compiler itself
def test_a_compiler_that_is_given_the_whole_step_leaves_the_exchange_alone(deploy):
    run = deploy(*FULL)
    here, there = mlp(), mlp()
    optimizer = attach(run, here)

    @torch.compile(backend="eager")
    def step(at):
        optimizer.zero_grad()
        loss_of(here, at).backward()
        optimizer.step()

    for at in range(3):
        step(at)
    assert optimizer.round == 3
    train(there, torch.optim.SGD(there.parameters(), lr=0.125), 3)
    assert torch.allclose(flat(here), flat(there), rtol=1e-5, atol=1e-6)
    optimizer.close()


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.full((16,), float(index))


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_data_loaders_workers_leave_the_session_alone(deploy, how):
    run = deploy()
    model = mlp()
    optimizer = attach(run, model)
    loader = torch.utils.data.DataLoader(Numbers(), batch_size=2, num_workers=1, multiprocessing_context=how)
    for inputs in loader:
        optimizer.zero_grad()
        model(inputs).square().mean().backward()
        optimizer.step()
    assert optimizer.round == 4
    optimizer.close()


# --- faults --------------------------------------------------------------------------------------------


def test_an_abort_reattaches_where_that_is_asked_for(deploy):
    run = deploy("--scheme", "full", "--reconnect-grace", "1s", "--deadline", "off", sites=2)

    def rank(site):
        model = mlp()
        optimizer = attach(run, model, site, on_abort="reattach")
        train(model, optimizer, 2, part=site)
        return model, optimizer

    (one, optimizer), (other, others) = together(lambda: rank(1), lambda: rank(2))
    run.processes["worker-1"].kill()
    run.processes["worker-1"].wait()
    run.start_worker(1)

    def until_back():
        while others.last.contributors < 2 or others.round < 4:
            train(other, others, 1, part=2)
        return others.round

    def reattach():
        with pytest.warns(RuntimeWarning, match="attaching again, attempt 1 of 3"):
            train(one, optimizer, 1, part=1)
        assert optimizer.reattached == 1 and optimizer.last is None
        while optimizer.last is None or optimizer.last.contributors < 2:
            train(one, optimizer, 1, part=1)
        return optimizer.round

    there, here = together(until_back, reattach)
    assert there == here and torch.equal(flat(one), flat(other))
    optimizer.close()
    others.close()


def test_an_abort_raises_otherwise(deploy):
    run = deploy("--scheme", "full")
    model = mlp()
    optimizer = attach(run, model)
    run.processes["worker-1"].kill()
    run.processes["worker-1"].wait()
    with pytest.raises((isthmus.Unavailable, isthmus.Aborted)):
        train(model, optimizer, 1)
    assert torch.isfinite(flat(model)).all()


@pytest.mark.parametrize("kind", ["optimizer", "local steps"])
def test_hooks_and_the_profiler_see_steps(deploy, kind):
    model = mlp()
    if kind == "optimizer":
        optimizer = attach(deploy(*FULL), model)
    else:
        run = deploy("--scheme", "local", "--every", "2 steps")
        own = torch.optim.SGD(model.parameters(), lr=0.1)
        optimizer = isthmus.torch.LocalSteps(own, model, socket=run.socket())
    train(model, optimizer, 1)
    seen = []
    before = optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    after = optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    train(model, optimizer, 2)
    assert seen == ["before", "after"] * 2  # once each: what LocalSteps wraps has the same hooks
    before.remove()
    after.remove()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], acc_events=True) as profile:
        train(model, optimizer, 1)
    seen_as = "Optimizer" if kind == "optimizer" else "SGD"
    assert f"Optimizer.step#{seen_as}.step" in {event.key for event in profile.key_averages()}
    optimizer.close()
