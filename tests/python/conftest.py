"""Real coordinators and workers for tests of the Python package."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("ISTHMUS_BUILD_DIR", ROOT / "build" / "dev"))
os.environ.setdefault("ISTHMUS_LIBRARY", str(BUILD / "lib" / "libisthmus.so.0"))
sys.path.insert(0, str(ROOT / "python"))

PATIENCE = float(os.environ.get("ISTHMUS_TEST_PATIENCE", "60"))  # seconds until something must have happened; only what hangs takes as long


def wait_until(what: str, done: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, f"waited {PATIENCE} s for {what}"
        threading.Event().wait(0.01)


class Deployment:
    """A coordinator and a worker for each site, as real processes."""

    def __init__(
        self, folder: pathlib.Path, sites: int, ranks: int, flags: tuple[str, ...], devices: tuple[str, ...] = ()
    ) -> None:
        self.folder = folder
        self.devices = devices or (f"cpu:{ranks}",) * sites  # of each site's worker: its --ranks
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        port = folder / "port"
        self._start("coordinator", "isthmus-coordinator", "--listen", "127.0.0.1:0", "--port-file", str(port),
                    "--start-groups", str(sites), *flags)
        wait_until("the coordinator to listen", lambda: self._lives("coordinator") and port.exists() and port.read_text().strip() != "")
        self.address = port.read_text().strip()
        for site in range(1, sites + 1):
            self.start_worker(site)

    def _start(self, name: str, program: str, *flags: str) -> None:
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen([BUILD / "bin" / program, *flags], stdout=log, stderr=log)

    def _lives(self, name: str) -> bool:
        code = self.processes[name].poll()
        assert code is None, f"{name} ended with {code}:\n{(self.folder / f'{name}.log').read_text()[-2000:]}"
        return True

    def start_worker(self, site: int) -> None:
        self._start(f"worker-{site}", "isthmus-worker", "--coordinator", self.address, "--group", str(site), "--ranks",
                    self.devices[site - 1], "--socket", self.socket(site))

    def socket(self, site: int = 1) -> str:
        return str(self.folder / f"worker-{site}.sock")

    def status(self) -> dict[str, Any]:
        said = subprocess.run([BUILD / "bin" / "isthmus", "status", "--coordinator", self.address, "--json"],
                              capture_output=True, text=True, check=True)
        return json.loads(said.stdout)

    def hashes(self) -> set[str]:
        """Of the sites' states after the last round, which have to be hashed: by audits, or since it was the end."""

        def said() -> list[dict[str, Any]]:
            return [group["heartbeat"] for group in self.status()["groups"]]

        last = str(self.status()["rounds_committed"])
        wait_until("all states' hashes", lambda: all(str(beat.get("hash_round", 0)) == last for beat in said()))
        return {beat["state_hash"] for beat in said()}

    def stop(self) -> None:
        """By SIGTERM, so that a tool that watches them can have its say; who takes as long as a hang is killed."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def deploy(tmp_path: pathlib.Path) -> Iterator[Callable[..., Deployment]]:
    """deploy("--scheme", "full", sites=2, ranks=1): stopped after the test."""
    made: list[Deployment] = []

    def make(*flags: str, sites: int = 1, ranks: int = 1, devices: tuple[str, ...] = ()) -> Deployment:
        folder = tmp_path / f"run-{len(made)}"
        folder.mkdir()
        made.append(Deployment(folder, sites, ranks, flags, devices))
        return made[-1]

    yield make
    for deployment in made:
        deployment.stop()


def together(*jobs: Callable[[], Any]) -> list[Any]:
    """Runs them in a thread each; their results, or the first exception."""
    results: list[Any] = [None] * len(jobs)
    failures: list[BaseException] = []

    def run(at: int) -> None:
        try:
            results[at] = jobs[at]()
        except BaseException as why:
            failures.append(why)

    threads = [threading.Thread(target=run, args=(at,), daemon=True) for at in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a rank hangs"
    if failures:
        raise failures[0]
    return results
