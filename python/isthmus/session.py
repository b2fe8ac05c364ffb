"""A rank of a training job, attached to its site's worker: buffers and steps, of no framework.

    with isthmus.Session([isthmus.Tensor("w", (512, 512))]) as session:
        while True:
            fill(session.gradients[0], session.parameters[0])
            if session.step(lr=[3e-4], samples=8, loss=loss).ended:
                break

`isthmus.torch` has what PyTorch jobs use.
"""

from __future__ import annotations

import ctypes
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from isthmus import _abi
from isthmus.errors import FailedPrecondition, InvalidArgument, ResourceExhausted, error_of

__all__ = ["Buffer", "Constant", "Info", "Session", "StepResult", "Tensor"]

_DTYPES = {"float32": (_abi.FLOAT32, 4), "bfloat16": (_abi.BFLOAT16, 2)}
_PATIENT = 10.0  # seconds until a log says what attaching waits for, where nobody asked to be told
_LOOK_UP = 0.1  # seconds between looks at the interpreter's signals while a step is waited for


@dataclass(frozen=True)
class Tensor:
    """A tensor to train: the same list of them, in the same order, at every rank and site.

    `dtype` is "float32" or "bfloat16", the same for all; `group` says which learning rate and weight
    decay apply, below 64. `data` is what it holds at first: an object with a contiguous buffer, or
    the address of memory that stays until the session is attached; zeros without.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    group: int = 0
    data: Any = None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Constant:
    """Bytes that a run carries along and nobody trains, as batch norm's statistics."""

    name: str
    data: Any


class Info(NamedTuple):
    """Where a rank stands; see isthmus_info in client/isthmus.h."""

    group_id: int
    group_index: int
    group_count: int
    rank: int
    world_size: int
    round: int
    rounds: int
    parameters: int
    every_steps: int
    overlap_steps: int
    run_steps: int
    run_samples: int


class StepResult(NamedTuple):
    """What came of a step; see isthmus_step_result in client/isthmus.h. `ended`: the run is over."""

    round: int
    contributors: int
    merged_here: int
    buckets: int
    loss: float
    blocked_seconds: float
    local_seconds: float
    peer_wait_seconds: float
    link_wait_seconds: float
    exchanged: bool
    nonfinite: int
    ended: bool


class _Device(ctypes.Structure):
    _fields_ = [("type", ctypes.c_int32), ("id", ctypes.c_int32)]


class _Managed(ctypes.Structure):
    """The head of DLPack's DLManagedTensor, and its deleter."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device", _Device),
        ("ndim", ctypes.c_int32),
        ("type", ctypes.c_uint32),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
        ("manager", ctypes.c_void_p),
        ("deleter", ctypes.CFUNCTYPE(None, ctypes.c_void_p)),
    ]


def _give_back(address: int) -> None:
    _Managed.from_address(address).deleter(address)


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class Buffer:
    """A tensor's parameters or gradient, in memory that is shared with the worker.

    Frameworks take it by DLPack without a copy, one-dimensional: `torch.from_dlpack(buffer)`,
    `jax.dlpack.from_dlpack(buffer)`. What they make of it stays valid after the session is closed,
    as memory of this process' own.
    """

    def __init__(self, session: Session, tensor: Tensor, export: Callable[[], int | None]) -> None:
        self._session = session
        self._tensor = tensor
        self._export = export

    @property
    def name(self) -> str:
        return self._tensor.name

    @property
    def shape(self) -> tuple[int, ...]:
        return self._tensor.shape

    @property
    def dtype(self) -> str:
        return self._tensor.dtype

    @property
    def nbytes(self) -> int:
        return self._tensor.elements * _DTYPES[self._tensor.dtype][1]

    def __len__(self) -> int:
        return self._tensor.elements

    def _managed(self) -> int:
        address = self._export()
        if not address:
            raise ResourceExhausted(f"{self.name}: no memory to export its buffer")
        return address

    def __dlpack__(self, *, stream: Any = None, **_: Any) -> Any:
        """A capsule of the buffer. It is the step calls that order streams, whatever `stream` is."""
        return _new_capsule(self._managed(), b"dltensor", None)

    def __dlpack_device__(self) -> tuple[int, int]:
        address = self._managed()
        device = _Managed.from_address(address).device
        kind = (device.type, device.id)
        _give_back(address)
        return kind

    def memory(self) -> memoryview:
        """The bytes, to read and to write. Of host memory only."""
        address = self._managed()
        managed = _Managed.from_address(address)
        if managed.device.type != 1:
            _give_back(address)
            raise FailedPrecondition(f"{self.name}: expected host memory, it is on a device")

        class Bytes(ctypes.c_char * self.nbytes):  # type: ignore[misc, name-defined]
            pass

        array = Bytes.from_address(managed.data)
        weakref.finalize(array, _give_back, address)
        return memoryview(array).cast("B")

    def numpy(self) -> Any:
        """A NumPy array of it, writable. Float32 in host memory only: NumPy has no bfloat16."""
        import numpy

        if self.dtype != "float32":
            raise FailedPrecondition(f"{self.name}: expected float32 for NumPy, it is {self.dtype}")
        return numpy.frombuffer(self.memory(), numpy.float32).reshape(self.shape)


def _address(data: Any, size: int, what: str, keep: list[Any]) -> int | None:
    if data is None or isinstance(data, int):
        return data
    view = memoryview(data)
    if not view.c_contiguous or view.nbytes != size:
        raise InvalidArgument(f"{what}: expected {size} contiguous bytes of data, got {view.nbytes}")
    if view.readonly:
        copy = ctypes.create_string_buffer(view.tobytes(), view.nbytes)
    else:
        copy = (ctypes.c_char * view.nbytes).from_buffer(view)
    keep.append(copy)
    return ctypes.addressof(copy)


def _declare(tensors: Sequence[Tensor], constants: Sequence[Constant], keep: list[Any]) -> ctypes.Array[_abi.Tensor]:
    declared = (_abi.Tensor * (len(tensors) + len(constants)))()
    for at, tensor in enumerate(tensors):
        if tensor.dtype not in _DTYPES:
            raise InvalidArgument(f"{tensor.name}: expected float32 or bfloat16, got {tensor.dtype}")
        dtype, size = _DTYPES[tensor.dtype]
        shape = (ctypes.c_int64 * len(tensor.shape))(*tensor.shape)
        keep.append(shape)
        declared[at] = _abi.Tensor(
            name=tensor.name.encode(),
            dtype=dtype,
            ndim=len(tensor.shape),
            shape=shape,
            parameter_group=tensor.group,
            data=_address(tensor.data, tensor.elements * size, tensor.name, keep),
        )
    for at, constant in enumerate(constants, len(tensors)):
        size = memoryview(constant.data).nbytes
        declared[at] = _abi.Tensor(
            name=constant.name.encode(),
            constant=1,
            size_bytes=size,
            data=_address(constant.data, size, constant.name, keep),
        )
    return declared


class _Waiter:
    """Makes a call that blocks in a thread of its own, so that signals reach the one that waits."""

    def __init__(self, on_wait: Callable[[str], None] | None = None) -> None:
        self.answer = _abi.KeepWaiting(self._keep_waiting)  # for libisthmus, while this lives
        self._on_wait = on_wait
        self._said = ""
        self._heard = ""
        self._stop = False
        self._failed: BaseException | None = None

    def _keep_waiting(self, _: Any, what: bytes) -> int:
        self._heard = said = what.decode(errors="replace")
        if self._on_wait is not None and said and said != self._said and not self._stop:
            self._said = said
            try:
                self._on_wait(said)
            except BaseException as why:  # for whoever waits
                self._failed = why
                self._stop = True
        return 0 if self._stop else 1

    def wait_for(self, call: Callable[[], None]) -> None:
        """Raises what on_wait or a signal's handler raised, once the call has ended because of it."""
        thread = threading.Thread(target=call, name="isthmus", daemon=True)
        thread.start()
        told, patient_until = "", time.monotonic() + _PATIENT
        try:
            while thread.is_alive():
                thread.join(_LOOK_UP)
                if self._on_wait is None and self._heard != told and time.monotonic() > patient_until:
                    told = self._heard
                    logging.getLogger("isthmus").warning("the daemon is %s", told)
        except BaseException:
            self._stop = True
            thread.join()
            raise
        if self._failed is not None:
            raise self._failed


class Session:
    """Attached from construction on. Used by one thread at a time.

    Blocks until the run can train: until all local ranks have attached, the coordinator is reached
    and all sites have the same parameters. `parameters` and `constants` then hold the run's, whatever
    `data` said. Ctrl-C ends the wait, here and in steps.

    :param tensors: what is trained.
    :param constants: what is carried along.
    :param socket: the worker's; by default the environment's ISTHMUS_SOCKET.
    :param local_rank: by default the environment's LOCAL_RANK, or 0.
    :param local_world_size: by default the environment's LOCAL_WORLD_SIZE, or the worker's ranks.
    :param timeout: seconds until training can start; the worker need not be there yet.
    :param device: parameters and gradients are memory of the GPU of the worker's rank.
    :param own_optimizer: the job steps by an optimizer of its own, in a run of scheme `local`: there
        are no gradients here, and step() is called after each of the job's steps.
    :param on_wait: is told, from another thread, what attaching waits for, each time that changes; without
        it, the log "isthmus" says so after ten seconds.
    :raises IsthmusError: of the class that its code has (isthmus.errors).
    """

    def __init__(
        self,
        tensors: Sequence[Tensor],
        constants: Sequence[Constant] = (),
        *,
        socket: str | os.PathLike[str] | None = None,
        local_rank: int | None = None,
        local_world_size: int | None = None,
        timeout: float = 600.0,
        device: bool = False,
        own_optimizer: bool = False,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self._handle: ctypes.c_void_p | None = None
        self._library = _abi.library()
        keep: list[Any] = []
        declared = _declare(tensors, constants, keep)
        options = _abi.AttachOptions(
            socket_path=None if socket is None else os.fsencode(socket),
            local_rank=-1 if local_rank is None else local_rank,
            local_world_size=-1 if local_world_size is None else local_world_size,
            timeout_seconds=timeout,
            memory=_abi.DEVICE if device else _abi.HOST,
            own_optimizer=1 if own_optimizer else 0,
        )
        self._handle = self._attach(options, declared, on_wait)
        self._tensors = tuple(tensors)
        self._constants = tuple(constants)
        self._own_optimizer = own_optimizer
        self._groups = 1 + max((tensor.group for tensor in tensors), default=0)
        self._rates = (ctypes.c_float * self._groups)()
        self._decays = (ctypes.c_float * self._groups)()
        self._args = _abi.StepArgs(lr=self._rates, weight_decay=self._decays, parameter_groups=self._groups)
        self._result = _abi.StepResult()
        self._args_at = ctypes.byref(self._args)
        self._result_at = ctypes.byref(self._result)
        self.parameters = tuple(self._buffers(self._library.isthmus_dlpack_parameter))
        self.gradients = () if own_optimizer else tuple(self._buffers(self._library.isthmus_dlpack_gradient))

    def _attach(
        self,
        options: _abi.AttachOptions,
        declared: ctypes.Array[_abi.Tensor],
        on_wait: Callable[[str], None] | None,
    ) -> ctypes.c_void_p:
        handle = ctypes.c_void_p()
        code, message = _abi.OK, b""
        waiter = _Waiter(on_wait)
        options.keep_waiting = waiter.answer

        def attach() -> None:
            nonlocal code, message
            code = self._library.isthmus_attach(ctypes.byref(options), declared, len(declared), ctypes.byref(handle))
            message = self._library.isthmus_error_message(None)  # this thread's

        try:
            waiter.wait_for(attach)
        except BaseException:
            self._library.isthmus_detach(handle)
            raise
        if code != _abi.OK:
            raise error_of(code, message.decode(errors="replace"))
        self._library.isthmus_set_keep_waiting(handle, _abi.KeepWaiting(), None)
        return handle

    def _buffers(self, export: Callable[[ctypes.c_void_p, int], int | None]) -> Iterator[Buffer]:
        for at, tensor in enumerate(self._tensors):
            yield Buffer(self, tensor, lambda at=at: export(self._attached(), at))  # type: ignore[misc]

    def _attached(self) -> ctypes.c_void_p:
        if self._handle is None:
            raise FailedPrecondition("the session is closed")
        return self._handle

    def _check(self, code: int) -> bool:
        """True where the run is over; raises what is neither that nor OK."""
        if code == _abi.OK:
            return False
        if code == _abi.END:
            return True
        raise error_of(code, self._library.isthmus_error_message(self._handle).decode(errors="replace"))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return self._tensors

    @property
    def own_optimizer(self) -> bool:
        return self._own_optimizer

    @property
    def info(self) -> Info:
        info = _abi.Info()
        self._check(self._library.isthmus_get_info(self._attached(), ctypes.byref(info)))
        return Info(*(getattr(info, name) for name in Info._fields))

    def constant(self, index: int) -> bytes:
        """What constant `index`, of their list, is in the run."""
        handle = self._attached()
        at = self._library.isthmus_constant(handle, len(self._tensors) + index)
        if at is None:
            raise InvalidArgument(f"constant {index}: expected below {len(self._constants)}")
        return ctypes.string_at(at, memoryview(self._constants[index].data).nbytes)

    def begin(
        self,
        *,
        lr: Sequence[float] | None = None,
        weight_decay: Sequence[float] | None = None,
        samples: int = 1,
        loss: float = math.nan,
        skip: bool = False,
        stream: int | None = None,
    ) -> bool:
        """Hands the step over: its gradients, or with an optimizer of the job's own its parameters,
        where an exchange is due. Until wait() touch neither. True where the run is over.

        :param lr: per parameter group; with an optimizer of the job's own it is not read.
        :param weight_decay: per parameter group, decoupled; by default none.
        :param samples: of this rank's batch, its weight among groups.
        :param loss: of this rank's batch, to be reported; NaN: there is none.
        :param skip: what this rank has is unusable: the group sits the round out.
        :param stream: with device memory, the cudaStream_t whose work so far makes the gradients.
        """
        if not self._own_optimizer:
            self._fill("lr", self._rates, lr)
            self._fill("weight_decay", self._decays, weight_decay or (0.0,) * self._groups)
        args = self._args
        args.samples = samples
        args.loss = loss
        args.skip = skip
        args.stream = stream
        return self._check(self._library.isthmus_step_begin(self._attached(), self._args_at))

    def _fill(self, what: str, into: ctypes.Array[ctypes.c_float], values: Sequence[float] | None) -> None:
        if values is None or len(values) != self._groups:
            raise InvalidArgument(
                f"{what}: expected one for each of {self._groups} parameter groups, got {0 if values is None else len(values)}"
            )
        into[:] = values

    def poll(self, seconds: float = 0.0) -> bool:
        """Whether wait() would return at once; waits for that for at most `seconds`."""
        code = self._library.isthmus_step_poll(self._attached(), seconds)
        if code == _abi.DEADLINE_EXCEEDED:
            return False
        self._check(code)
        return True

    def wait(self) -> StepResult:
        """Blocks until the step that begin() began is done. After an exception of a signal's handler
        it is still under way, and the call may be made again."""
        wait_for, handle = self._library.isthmus_step_wait_for, self._attached()
        code = _abi.DEADLINE_EXCEEDED
        while code == _abi.DEADLINE_EXCEEDED:  # handlers of signals run in between
            code = wait_for(handle, _LOOK_UP, self._result_at)
        ended = code != _abi.OK and self._check(code)
        _, *fields = _abi.unpack_step_result(self._result)
        return StepResult(*fields, ended)

    def step(self, *, meanwhile: Callable[[], None] | None = None, **args: Any) -> StepResult:
        """begin() and wait() in one. `meanwhile` is called while the worker is at it; what it raises
        is raised when the step is done."""
        over = self.begin(**args)
        try:
            if meanwhile is not None:
                meanwhile()
        finally:
            result = _ENDED._replace(round=self.info.round) if over else self.wait()
        return result

    def read_anchor(self, into: Sequence[Any | None]) -> int:
        """What all sites have in common, which no buffer of a job with an optimizer of its own need
        ever hold, for evaluation and checkpoints. At every rank, between the same two steps.

        :param into: for each tensor a writable object with a contiguous buffer of its size, an
            address, or None to leave it out.
        :returns: the round that it is of. After an exception of a signal's handler the same call
            goes on.
        """
        if len(into) != len(self._tensors):
            raise InvalidArgument(f"into: expected one for each of {len(self._tensors)} tensors, got {len(into)}")
        keep: list[Any] = []
        at = (ctypes.c_void_p * (len(self._tensors) + len(self._constants)))()
        for index, (tensor, target) in enumerate(zip(self._tensors, into)):
            if target is not None and not isinstance(target, int) and memoryview(target).readonly:
                raise InvalidArgument(f"{tensor.name}: expected writable memory")
            at[index] = _address(target, tensor.elements * _DTYPES[tensor.dtype][1], tensor.name, keep)
        handle, round_read, code = self._attached(), ctypes.c_uint64(), _abi.OK
        waiter = _Waiter()

        def read() -> None:
            nonlocal code
            code = self._library.isthmus_read_anchor(handle, at, len(at), ctypes.byref(round_read))

        self._library.isthmus_set_keep_waiting(handle, waiter.answer, None)
        try:
            waiter.wait_for(read)
        finally:
            self._library.isthmus_set_keep_waiting(handle, _abi.KeepWaiting(), None)
        self._check(code)
        return round_read.value

    def close(self) -> None:
        """Leaves the worker, which keeps the run's state. Closed already is fine."""
        if self._handle is not None:
            self._library.isthmus_detach(self._handle)
            self._handle = None

    @property
    def closed(self) -> bool:
        return self._handle is None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_handle", None) is not None:
            self.close()


_ENDED = StepResult(-1, 0, 0, 0, math.nan, 0.0, 0.0, 0.0, 0.0, False, 0, True)
