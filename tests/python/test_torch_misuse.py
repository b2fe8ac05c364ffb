"""What isthmus.torch.Optimizer refuses, and in which words."""

import copy
import pickle
import warnings

import pytest
from conftest import together, wait_until

torch = pytest.importorskip("torch")

from torch.distributed.device_mesh import DeviceMesh  # noqa: E402
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard  # noqa: E402
from torch_jobs import attach, mlp, train  # noqa: E402

import isthmus  # noqa: E402
import isthmus.torch  # noqa: E402


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (lambda m: m.parameters(), "parameter 0: expected a name and a parameter, as model.named_parameters"),
        (lambda m: [], "expected parameters to train, got none"),
        (lambda m: [("a", m[0].weight), ("a", m[0].bias)], "a: expected names that differ, parameters 0 and 1"),
        (lambda m: [("a", m[0].weight), ("b", m[0].weight)], "b: expected each parameter once, it is a as well"),
        (lambda m: [("a", 1)], "expected pairs of a name and a parameter"),
        (lambda m: [("a", m[0].weight), ("b", m[0].bias.double())], "b: "),
        (lambda m: [("a", torch.nn.Parameter(m[0].weight.half()))], "a: expected float32 or bfloat16, got torch.float16"),
        (
            lambda m: [("a", m[0].weight), ("b", torch.nn.Parameter(m[0].bias.bfloat16()))],
            "b: expected torch.float32 as the parameters before it, got torch.bfloat16",
        ),
        (lambda m: [("a", torch.nn.Parameter(torch.empty(3, device="meta")))], "a: .*meta device: materialize"),
        (lambda m: [("a", m[0].weight * 2)], "a: expected a leaf tensor"),
        (lambda m: [("a", torch.nn.Parameter(torch.empty(0)))], "a: expected a tensor with elements"),
        (lambda m: [{"params": [(f"{i}", p)]} for i, p in enumerate(list(m.parameters()) * 20)], "at most 64, got 80"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_attach(params, words):
    with pytest.raises(isthmus.InvalidArgument, match=words):
        isthmus.torch.Optimizer(params(mlp()), socket="/nowhere")


@pytest.fixture
def mesh():
    """Of one rank."""
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield DeviceMesh("cpu", [0])
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("placement", [Replicate(), Shard(0), Partial()], ids=str)
def test_sharded_tensors_are_refused_by_name(mesh, placement):
    model = mlp()
    model[2].weight = torch.nn.Parameter(DTensor.from_local(model[2].weight.detach(), mesh, [placement]))
    words = "2.weight: expected a whole tensor, got a DTensor: sharded jobs are not supported yet"
    with pytest.raises(isthmus.InvalidArgument, match=words):
        isthmus.torch.Optimizer(model.named_parameters(), socket="/nowhere")
    with pytest.raises(isthmus.InvalidArgument, match=words):
        isthmus.torch.LocalSteps(torch.optim.AdamW(model.parameters()), model, socket="/nowhere")


def test_settings_that_cannot_be():
    model = mlp()
    with pytest.raises(isthmus.InvalidArgument, match="gradients: expected 'auto', 'local' or 'reduced', got 'mean'"):
        isthmus.torch.Optimizer(model.named_parameters(), gradients="mean", socket="/nowhere")
    with pytest.raises(isthmus.InvalidArgument, match="on_abort: expected 'raise' or 'reattach', got 'ignore'"):
        isthmus.torch.Optimizer(model.named_parameters(), on_abort="ignore", socket="/nowhere")


@pytest.mark.parametrize("max_norm", [0.0, -1.0, float("inf"), float("nan")])
def test_a_norm_that_cannot_be(max_norm):
    with pytest.raises(isthmus.InvalidArgument, match=f"max_norm: expected a number above 0, got {max_norm}"):
        isthmus.torch.Optimizer(mlp().named_parameters(), max_norm=max_norm, socket="/nowhere")


def test_ranks_that_cannot_average_have_no_norm_in_common(deploy):
    run = deploy(ranks=2)

    def rank(at):
        with pytest.raises(isthmus.FailedPrecondition, match="max_norm: expected the site's 2 ranks in torch.distributed, .* not init"):
            attach(run, mlp(), rank=at, max_norm=1.0)
        attach(run, mlp(), rank=at, max_norm=1.0, gradients="reduced").close()

    together(lambda: rank(0), lambda: rank(1))


def test_sparse_gradients_are_refused_by_name(deploy):
    run = deploy()
    model = torch.nn.Embedding(10, 4, sparse=True)
    optimizer = attach(run, model)
    model.zero_grad(set_to_none=True)
    model(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(isthmus.InvalidArgument, match="weight: expected a dense gradient, got torch.sparse_coo"):
        optimizer.step()
    optimizer.close()


@pytest.mark.parametrize("how", ["assign", "data", "tie"])
def test_a_parameter_that_was_replaced_is_named(deploy, how):
    run = deploy()
    model = mlp()
    optimizer = attach(run, model)
    if how == "assign":
        model.load_state_dict({name: value.clone() for name, value in model.state_dict().items()}, assign=True)
        model[0].weight.sum().backward()
    elif how == "data":
        model[0].weight.data = model[0].weight.data.clone()
    else:
        with torch.no_grad():
            model[0].weight.set_(torch.zeros(32, 16))
    if how == "assign":  # the optimizer's own are where they were: it is the model's that are others
        with pytest.warns(RuntimeWarning, match="no gradient has reached any parameter since zero_grad"):
            train(model, optimizer, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # said once
            optimizer.step()
    else:
        with pytest.raises(isthmus.FailedPrecondition, match="0.weight: expected the parameter in the memory"):
            train(model, optimizer, 1)
    optimizer.close()


def test_who_has_left_stays_away(deploy):
    run = deploy()
    optimizer = attach(run, mlp())
    optimizer.close()
    for use in (optimizer.step, lambda: optimizer.info, lambda: optimizer.round, optimizer.attach):
        with pytest.raises(isthmus.FailedPrecondition, match="the session is closed: make a new optimizer"):
            use()
    attach(run, mlp()).close()


def test_it_cannot_be_copied_or_pickled(deploy):
    run = deploy()
    optimizer = attach(run, mlp())
    with pytest.raises(TypeError, match="cannot be copied or pickled; copy its state_dict"):
        copy.deepcopy(optimizer)
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        pickle.dumps(optimizer)
    with pytest.raises(isthmus.InvalidArgument, match="a group cannot be added to a run"):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))]})
    optimizer.close()


def test_sites_with_other_models_are_told_how_they_differ(deploy):
    run = deploy(sites=2)
    other = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 9))

    def second():
        wait_until("the run to have a model", lambda: int(run.status().get("parameters", 0)) > 0)
        with pytest.raises(isthmus.FailedPrecondition) as refused:
            attach(run, other, 2)
        return str(refused.value)

    def first():
        with pytest.raises(isthmus.DeadlineExceeded):
            attach(run, mlp(), 1, timeout=5)

    words, _ = together(second, first)
    assert "2.weight" in words and "9" in words and "8" in words
