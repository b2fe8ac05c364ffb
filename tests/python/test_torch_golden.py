"""Recorded runs of the public DeMo and DeToNATION optimizers (tests/golden), by isthmus.torch.Optimizer.

Each node is a site: its tensor and its recorded gradients are real, and what travels is what a run sends.
Of tests/golden these are the runs that daemons can run as they are: unsharded, of a tensor that is a whole
number of the chunks which P4 allows. The tolerance of parameters is that of tests/golden/README.md.
"""

import json
import pathlib

import pytest
from conftest import ROOT, together

numpy = pytest.importorskip("numpy")
torch = pytest.importorskip("torch")

import isthmus.torch  # noqa: E402

GOLDEN = ROOT / "tests" / "golden"
CHUNKS = {16 << n for n in range(9)}
TYPES = {"f32": "<f4", "f64": "<f8", "i32": "<i4", "u8": "u1", "i16": "<i2"}


class Case:
    def __init__(self, manifest: pathlib.Path) -> None:
        self.name = manifest.stem
        self.about = json.loads(manifest.read_text())

    def runs_as_it_is(self) -> bool:
        about = self.about
        if about["kind"] not in ("demo", "full") or about["shards"] != 1:
            return False
        if about["kind"] == "full":
            return True
        size = about["block_size"]
        return len(about["block"]) == 1 and size in CHUNKS and about["shape"][0] % size == 0

    def array(self, name: str) -> torch.Tensor:
        (entry,) = (one for one in self.about["arrays"] if one["name"] == name)
        raw = (GOLDEN / f"{self.name}.bin").read_bytes()[entry["offset"] : entry["offset"] + entry["nbytes"]]
        values = numpy.frombuffer(raw, TYPES[entry["dtype"]]).astype(numpy.float64) * entry.get("scale", 1.0)
        return torch.from_numpy(values.reshape(entry["shape"]))

    def has(self, name: str) -> bool:
        return any(one["name"] == name for one in self.about["arrays"])

    def weight_decay(self) -> float:
        return self.about["adamw_weight_decay"] if self.about["optimizer"] == "adamw" else self.about["weight_decay"]

    def flags(self) -> tuple[str, ...]:
        """The run as a coordinator's flags. The public code multiplies by the rate on the way into the momentum."""
        about = self.about
        flags = ["--values", "f32", "--sign" if about["sign"] else "--no-sign", "--optimizer", about["optimizer"]]
        if about["kind"] == "demo":
            flags += ["--scheme", "flexdemo", "--chunk", about["block_size"], "--k", about["k_used"], "--lr-in-momentum"]
            flags += ["--decay", about["decay"]]
        else:
            flags += ["--scheme", "full"]
        if about["optimizer"] == "adamw":
            flags += ["--adam-beta1", about["beta1"], "--adam-beta2", about["beta2"], "--adam-epsilon", about["eps"]]
        else:
            flags += ["--sgd-momentum", about["momentum"]]
        return ("--rounds", str(about["steps"]), "--audit-rounds", "1", *map(str, flags))


CASES = [case for manifest in sorted(GOLDEN.glob("*.json")) if (case := Case(manifest)).runs_as_it_is()]


def test_all_kinds_that_daemons_run_are_among_them():
    assert len(CASES) == 11
    assert {case.about["source"] for case in CASES} == {"demo", "detonation"}
    assert {case.about["optimizer"] for case in CASES} == {"sgd", "adamw"}
    assert {case.about["sign"] for case in CASES} == {True, False}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_agrees_with_the_recording(deploy, case):
    about = case.about
    run = deploy(*case.flags(), sites=about["nodes"])
    gradients = case.array("grad").float()
    steps = about["steps"]

    def node(site):
        parameter = torch.nn.Parameter(case.array("param0").float())
        optimizer = isthmus.torch.Optimizer(
            [("w", parameter)], lr=about["lr"], weight_decay=case.weight_decay(), socket=run.socket(site)
        )
        seen = []
        for step in range(steps):
            optimizer.zero_grad()
            parameter.grad.copy_(gradients[step, site - 1])
            optimizer.step()
            seen.append(parameter.detach().clone())
        optimizer.close()
        return torch.stack(seen)

    nodes = together(*(lambda site=site: node(site) for site in range(1, about["nodes"] + 1)))
    assert all(torch.equal(other, nodes[0]) for other in nodes)
    assert len(run.hashes()) == 1

    expected = case.array("param")
    # Where the mean is zero up to rounding its sign is noise, then and ever after.
    clear = torch.ones(steps, *about["shape"], dtype=torch.bool)
    if about["sign"] and case.has("sign_ok"):
        clear = case.array("sign_ok").reshape(clear.shape).bool().cummin(0).values
    tolerance = 2e-6 * about["scale_of"]["param"] + 1e-6 * about["lr"]
    compared = 0
    for at, step in enumerate(about["stored_steps"]):
        difference = (nodes[0][step].double() - expected[at]).abs()[clear[step]]
        assert difference.max() <= tolerance, f"step {step + 1}"
        compared += difference.numel()
    assert compared >= 0.9 * expected.numel()
