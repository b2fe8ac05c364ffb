"""The package as people meet it first: what it says of itself, and its demo job under `isthmus rehearse`."""

import json
import os
import re
import subprocess
import sys

import pytest
from conftest import BUILD, ROOT

import isthmus


def rehearse(folder, *flags, job):
    """Two sites of one rank; the summary and what rank 0 of the first site printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
    said = subprocess.run(
        [BUILD / "bin" / "isthmus", "rehearse", "--link", "none", "--compare-steps", "0", "--json", folder / "summary.json",
         "--keep", folder / "logs", *flags, "--", sys.executable, *job],
        capture_output=True, text=True, env=environment,
    )  # fmt: skip
    logs = "".join(log.read_text() for log in sorted((folder / "logs").glob("*.log")))
    assert said.returncode == 0, said.stderr + logs
    return json.loads((folder / "summary.json").read_text()), logs


def test_package_and_programs_are_of_one_version():
    said = subprocess.run([BUILD / "bin" / "isthmus", "--version"], capture_output=True, text=True, check=True)
    assert said.stdout.split()[-1] == isthmus.__version__


@pytest.mark.parametrize(
    "flags, job",
    [
        (("--steps", "30"), ()),
        (("--steps", "30", "--scheme", "local", "--every", "5"), ("--own-optimizer",)),
    ],
    ids=["every step", "local steps"],
)
def test_the_demo_learns(tmp_path, flags, job):
    summary, logs = rehearse(tmp_path, *flags, job=("-m", "isthmus.demo", *job))
    assert summary["hashes_equal"]
    assert summary["parameters"] == 4096
    losses = [float(loss) for loss in re.findall(r"step \d+: loss of all sites ([0-9.]+)", logs)]
    assert len(losses) >= 2 and losses[-1] < losses[0] < 4.2  # of 64 characters, each as likely: 4.16
    assert summary["loss"] == pytest.approx(losses[-1], abs=0.2)


def test_the_demo_says_what_is_wrong(tmp_path):
    said = subprocess.run(
        [sys.executable, "-m", "isthmus.demo", "--text", tmp_path / "none.txt"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
    )  # fmt: skip
    assert said.returncode == 1
    assert re.fullmatch(r"isthmus\.demo: .*none\.txt'\n", said.stderr)


def test_the_package_needs_no_other_on_import():
    code = "import sys, isthmus; print([m for m in ('torch', 'numpy', 'jax') if m in sys.modules])"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
    )  # fmt: skip
    assert said.stdout == "[]\n"


def test_jax_trains_through_a_session(tmp_path):
    pytest.importorskip("jax")
    job = (ROOT / "examples" / "jax_mlp" / "train.py", ROOT / "docs" / "protocol.md")
    summary, logs = rehearse(tmp_path, "--steps", "60", job=job)
    assert summary["hashes_equal"]
    losses = [float(loss) for loss in re.findall(r"step \d+: loss ([0-9.]+)", logs)]
    assert len(losses) >= 2 and losses[-1] < losses[0] < 5.6  # of 256 bytes, each as likely: 5.55
