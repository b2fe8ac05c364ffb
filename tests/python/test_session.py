"""isthmus.Session: buffers, steps and errors, without a framework."""

import array
import ctypes
import gc
import math
import os
import signal
import threading

import pytest
from conftest import together, wait_until

import isthmus
from isthmus import _abi

W = isthmus.Tensor("w", (8, 16))


def floats(values):
    return array.array("f", values)


def test_steps_of_two_sites_merge(deploy):
    run = deploy("--scheme", "full", "--rounds", "3", sites=2)

    def rank(site):
        with isthmus.Session([W], socket=run.socket(site)) as session:
            weights = session.parameters[0].memory().cast("f")
            gradient = session.gradients[0].memory().cast("f")
            results = []
            while True:
                gradient[:] = floats([float(site)] * 128)
                results.append(session.step(lr=[0.5], samples=4, loss=float(site)))
                if results[-1].ended:
                    return list(weights), results, session.info

    (one, results, info), (other, _, _) = together(lambda: rank(1), lambda: rank(2))
    assert one == other
    assert one != [0.0] * 128
    assert [result.round for result in results] == [1, 2, 3, 3]
    assert results[0].contributors == 2 and results[0].exchanged and results[0].loss == 1.5
    assert info.run_steps == 3 and info.run_samples == 24 and info.rounds == 3


def test_initial_data_is_the_lowest_sites(deploy):
    run = deploy(sites=2)

    def rank(site):
        data = floats([site + 0.5] * 128)
        with isthmus.Session(
            [isthmus.Tensor("w", (128,), data=data)], [isthmus.Constant("mean", bytes([site] * 5))], socket=run.socket(site)
        ) as session:
            return list(session.parameters[0].memory().cast("f")), session.constant(0)

    one, other = together(lambda: rank(1), lambda: rank(2))
    assert one == other == ([1.5] * 128, b"\1\1\1\1\1")


def test_local_steps_exchange_when_due(deploy):
    run = deploy("--scheme", "local", "--every", "3 steps", "--values", "f32", "--rounds", "2")
    with isthmus.Session([W], socket=run.socket(), own_optimizer=True) as session:
        assert session.gradients == ()
        assert session.info.every_steps == 3
        weights = session.parameters[0].memory().cast("f")
        exchanged = []
        for step in range(6):
            weights[:] = floats([weight - 1.0 for weight in weights])
            exchanged.append(session.step(samples=2).exchanged)
        assert exchanged == [False, False, True, False, False, True]
        assert list(weights) == [-6.0] * 128
        assert session.step().ended


def test_the_anchor_is_read_between_steps(deploy):
    run = deploy("--scheme", "local", "--every", "2 steps", "--values", "f32")
    with isthmus.Session([W], socket=run.socket(), own_optimizer=True) as session:
        weights = session.parameters[0].memory().cast("f")
        for _ in range(3):
            weights[:] = floats([weight - 1.0 for weight in weights])
            session.step()
        anchor = array.array("f", [9.0] * 128)
        assert session.read_anchor([anchor]) == 1
        assert list(anchor) == [-2.0] * 128
        assert list(weights) == [-3.0] * 128
        with pytest.raises(isthmus.InvalidArgument, match="into: expected one for each of 1 tensors, got 2"):
            session.read_anchor([anchor, None])
        with pytest.raises(isthmus.InvalidArgument, match="w: expected 512 contiguous bytes of data, got 4"):
            session.read_anchor([bytearray(4)])


def test_buffers_outlive_the_session(deploy):
    run = deploy()
    session = isthmus.Session([isthmus.Tensor("w", (4,), data=floats([1, 2, 3, 4]))], socket=run.socket())
    memory = session.parameters[0].memory().cast("f")
    assert session.parameters[0].__dlpack_device__() == (1, 0)
    session.close()
    session.close()
    del session
    gc.collect()
    assert list(memory) == [1, 2, 3, 4]
    memory[0] = 7
    assert memory[0] == 7


def test_numpy_reads_and_writes(deploy):
    numpy = pytest.importorskip("numpy")
    run = deploy()
    with isthmus.Session([W], socket=run.socket()) as session:
        weights = session.parameters[0].numpy()
        weights[3, 4] = 5
        assert numpy.from_dlpack(session.parameters[0]).reshape(8, 16)[3, 4] == 5
        assert weights.shape == (8, 16)
        del weights
    assert session.closed


def test_poll_says_when_wait_would_return(deploy):
    run = deploy("--scheme", "full", sites=2)
    first, second = together(*(lambda site=site: isthmus.Session([W], socket=run.socket(site)) for site in (1, 2)))
    assert not first.begin(lr=[0.1])
    assert not first.poll()
    assert not second.begin(lr=[0.1])
    assert first.wait().round == second.wait().round == 1
    first.close()
    second.close()


def test_a_signal_ends_an_attach(deploy, tmp_path):
    waited = []

    def interrupt(what):
        waited.append(what)
        if "rank" in what:
            os.kill(os.getpid(), signal.SIGINT)

    run = deploy(ranks=2)
    with pytest.raises(KeyboardInterrupt):
        isthmus.Session([W], socket=run.socket(), local_rank=0, on_wait=interrupt)
    assert waited[-1] == "waiting for rank 1 of 2 to attach"


def test_a_signal_ends_a_wait_and_the_step_goes_on(deploy):
    run = deploy("--scheme", "full", sites=2)
    first, second = together(*(lambda site=site: isthmus.Session([W], socket=run.socket(site)) for site in (1, 2)))
    first.begin(lr=[0.1])
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        first.wait()
    together(lambda: second.step(lr=[0.1]), lambda: first.wait())
    first.close()
    second.close()


def test_what_on_wait_raises_is_raised(deploy):
    run = deploy(ranks=2)

    def enough(_):
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        isthmus.Session([W], socket=run.socket(), on_wait=enough)


def test_a_forked_child_leaves_the_session_alone(deploy):
    run = deploy("--scheme", "full")
    session = isthmus.Session([W], socket=run.socket())
    session.step(lr=[0.1])
    child = os.fork()
    if child == 0:
        try:
            session.step(lr=[0.1])
            os._exit(1)
        except isthmus.FailedPrecondition:
            session.close()
            os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert session.step(lr=[0.1]).round == 2
    session.close()


def test_a_hundred_sessions_one_after_the_other(deploy):
    run = deploy("--scheme", "full")
    open_files = len(os.listdir("/proc/self/fd"))
    for number in range(100):
        with isthmus.Session([W], socket=run.socket()) as session:
            assert session.step(lr=[0.1]).round == number + 1
    assert len(os.listdir("/proc/self/fd")) == open_files


# --- refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ([isthmus.Tensor("w", (4,), "float16")], "w: expected float32 or bfloat16, got float16"),
        ([isthmus.Tensor("w", (4,), data=floats([1]))], "w: expected 16 contiguous bytes of data, got 4"),
        ([W, W], "tensor 1: expected a name of its own, got 'w'|'w'"),
        ([isthmus.Tensor("w", (4, 0))], "w"),
        ([], "tensor"),
    ],
)
def test_what_cannot_be_declared(deploy, tensors, words):
    run = deploy()
    with pytest.raises(isthmus.IsthmusError, match=words):
        isthmus.Session(tensors, socket=run.socket(), timeout=5)


def test_nobody_listens(tmp_path):
    for timeout in (0.2, 0):
        with pytest.raises(isthmus.Unavailable, match="nobody.sock"):
            isthmus.Session([W], socket=tmp_path / "nobody.sock", timeout=timeout)


def test_steps_that_cannot_be(deploy):
    run = deploy()
    with isthmus.Session([W, isthmus.Tensor("b", (3,), group=1)], socket=run.socket()) as session:
        with pytest.raises(isthmus.InvalidArgument, match="lr: expected one for each of 2 parameter groups, got 1"):
            session.step(lr=[0.1])
        with pytest.raises(isthmus.InvalidArgument, match="lr\\[1\\]: expected a number from 0 to 1e\\+06, got -1"):
            session.step(lr=[0.1, -1.0])
        with pytest.raises(isthmus.InvalidArgument, match="weight_decay\\[0\\]"):
            session.step(lr=[0.1, 0.1], weight_decay=[math.nan, 0.0])
        with pytest.raises(isthmus.FailedPrecondition, match="has begun no step"):
            session.wait()
        with pytest.raises(isthmus.InvalidArgument, match="constant 0: expected below 0"):
            session.constant(0)
        session.step(lr=[0.1, 0.1])
    with pytest.raises(isthmus.FailedPrecondition, match="the session is closed"):
        session.step(lr=[0.1, 0.1])


def test_the_other_kind_of_run_is_refused(deploy):
    with pytest.raises(isthmus.FailedPrecondition, match="scheme is full.*expected own_optimizer 0 at attach, got 1"):
        isthmus.Session([W], socket=deploy("--scheme", "full").socket(), own_optimizer=True, timeout=5)
    with pytest.raises(isthmus.FailedPrecondition, match="scheme is local.*expected own_optimizer 1 at attach, got 0"):
        isthmus.Session([W], socket=deploy("--scheme", "local").socket(), timeout=5)


def test_a_worker_that_dies_is_unavailable(deploy):
    run = deploy("--scheme", "full")
    session = isthmus.Session([W], socket=run.socket())
    run.processes["worker-1"].kill()
    run.processes["worker-1"].wait()
    with pytest.raises((isthmus.Unavailable, isthmus.Aborted)):
        session.step(lr=[0.1])
    session.close()


def test_a_rank_that_leaves_aborts_the_others(deploy):
    run = deploy("--scheme", "full", ranks=2)
    first, second = together(
        *(lambda rank=rank: isthmus.Session([W], socket=run.socket(), local_rank=rank) for rank in (0, 1))
    )
    second.close()
    with pytest.raises(isthmus.Aborted, match="rank 1: detached"):
        first.step(lr=[0.1])
    first.close()


def test_a_result_is_read_whole_as_it_is_field_by_field():
    result = _abi.StepResult(
        round=2**40, contributors=1, merged_here=2, buckets=3, loss=0.5, blocked_seconds=4, local_seconds=5,
        peer_wait_seconds=6, link_wait_seconds=7, exchanged=1, nonfinite=8,
    )  # fmt: skip
    names = [name for name, _ in _abi.StepResult._fields_]
    fields = _abi.unpack_step_result(result)
    assert fields == tuple(getattr(result, name) for name in names)
    assert fields[names.index("exchanged")] is True
    assert ("struct_size", *isthmus.StepResult._fields) == (*names, "ended")


def test_there_is_one_class_for_each_code():
    library = ctypes.CDLL(os.environ["ISTHMUS_LIBRARY"])
    library.isthmus_code_name.restype = ctypes.c_char_p
    from isthmus.errors import error_of

    for code in range(2, 10):
        name = library.isthmus_code_name(code).decode().title().replace("_", "")
        error = error_of(code, "what")
        assert type(error).__name__ == {"Internal": "InternalError"}.get(name, name)
        assert error.code == code and str(error) == "what"


def test_a_log_says_what_attaching_waits_for(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("isthmus.session._PATIENT", 0.0)
    with pytest.raises(isthmus.IsthmusError):
        isthmus.Session([W], socket=tmp_path / "none.sock", timeout=1)
    assert any("the daemon is not there, at" in record.getMessage() and "none.sock" in record.getMessage() for record in caplog.records)


def test_meanwhile_runs_before_the_step_is_done_and_its_error_comes_after(deploy):
    run = deploy("--scheme", "full", "--rounds", "2")

    def fail():
        raise KeyError("meanwhile")

    with isthmus.Session([W], socket=run.socket()) as session:
        called = []
        result = session.step(lr=[0.5], meanwhile=lambda: called.append(session.info.round))
        assert called == [0] and result.round == 1
        with pytest.raises(KeyError, match="meanwhile"):
            session.step(lr=[0.5], meanwhile=fail)
        assert session.info.round == 2  # taken all the same, and the session goes on
        assert session.step(lr=[0.5]).ended
