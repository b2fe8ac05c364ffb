"""Whole tensors of a PyTorch job in the memory that it shares with its worker.

Internal: what `Optimizer` and `LocalSteps` have in common.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from isthmus.errors import Aborted, FailedPrecondition, InvalidArgument, Unavailable
from isthmus.session import Constant, Info, Session, StepResult, Tensor

OnAbort = Literal["raise", "reattach"]
_DTYPES = {torch.float32: "float32", torch.bfloat16: "bfloat16"}
_MOST_GROUPS = 64
_ATTEMPTS = 3  # at attaching again, after an abort


@dataclass(frozen=True)
class SessionOptions:
    """As `isthmus.Session` has them."""

    socket: str | os.PathLike[str] | None = None
    local_rank: int | None = None
    local_world_size: int | None = None
    timeout: float = 600.0
    on_wait: Callable[[str], None] | None = None


@dataclass(slots=True)
class Bound:
    """One of the job's parameters, and where it is shared."""

    name: str
    parameter: torch.nn.Parameter
    group: int = 0
    shared: torch.Tensor | None = field(default=None, repr=False)
    address: int = field(default=0, repr=False)  # of `shared`
    gradient: torch.Tensor | None = field(default=None, repr=False)
    version: int = field(default=-1, repr=False)  # of `gradient`, when it was zeroed


def _check_parameter(name: str, parameter: Any, dtype: torch.dtype, device: torch.device) -> None:
    if not isinstance(name, str) or not isinstance(parameter, torch.Tensor):
        raise InvalidArgument(
            f"expected pairs of a name and a parameter, as model.named_parameters() has them, got {type(parameter).__name__}"
        )
    if type(parameter.data).__name__ == "DTensor":
        raise InvalidArgument(f"{name}: expected a whole tensor, got a DTensor: sharded jobs are not supported yet")
    if parameter.is_meta:
        raise InvalidArgument(f"{name}: expected a tensor with memory, it is on the meta device: materialize the model first")
    if not parameter.is_leaf:
        raise InvalidArgument(f"{name}: expected a leaf tensor, as a parameter is")
    if parameter.layout != torch.strided:
        raise InvalidArgument(f"{name}: expected a dense tensor, got {parameter.layout}")
    if parameter.dtype not in _DTYPES:
        raise InvalidArgument(f"{name}: expected float32 or bfloat16, got {parameter.dtype}")
    if parameter.dtype != dtype:
        raise InvalidArgument(f"{name}: expected {dtype} as the parameters before it, got {parameter.dtype}")
    if parameter.device != device:
        raise InvalidArgument(f"{name}: expected a tensor on {device} as those before it, it is on {parameter.device}")
    if parameter.device.type not in ("cpu", "cuda"):
        raise InvalidArgument(f"{name}: expected a tensor on the CPU or a CUDA device, it is on {parameter.device}")
    if parameter.numel() == 0:
        raise InvalidArgument(f"{name}: expected a tensor with elements, its shape is {tuple(parameter.shape)}")


def check_parameters(bound: Sequence[Bound]) -> None:
    if not bound:
        raise InvalidArgument("expected parameters to train, got none")
    first = bound[0].parameter
    if not isinstance(first, torch.Tensor):
        _check_parameter(bound[0].name, first, torch.float32, torch.device("cpu"))
    names: dict[str, int] = {}
    parameters: dict[int, str] = {}
    for at, one in enumerate(bound):
        _check_parameter(one.name, one.parameter, first.dtype, first.device)
        if one.name in names:
            raise InvalidArgument(f"{one.name}: expected names that differ, parameters {names[one.name]} and {at} have the same")
        if id(one.parameter) in parameters:
            raise InvalidArgument(f"{one.name}: expected each parameter once, it is {parameters[id(one.parameter)]} as well")
        names[one.name] = at
        parameters[id(one.parameter)] = one.name


def check_groups(count: int) -> None:
    if count > _MOST_GROUPS:
        raise InvalidArgument(f"param_groups: expected at most {_MOST_GROUPS}, got {count}")


def cannot_be_copied(what: object) -> TypeError:
    return TypeError(
        f"isthmus.torch.{type(what).__name__} is a connection to a worker and cannot be copied or pickled; "
        "copy its state_dict(), or the model"
    )


class Binding:
    """The session of one rank's parameters, whoever steps them."""

    def __init__(
        self,
        bound: Sequence[Bound],
        buffers: Iterable[tuple[str, torch.Tensor]],
        *,
        own_optimizer: bool,
        options: SessionOptions,
        on_abort: OnAbort,
        model: torch.nn.Module | None = None,
    ) -> None:
        if on_abort not in ("raise", "reattach"):
            raise InvalidArgument(f"on_abort: expected 'raise' or 'reattach', got {on_abort!r}")
        check_parameters(bound)
        self.bound = list(bound)
        self.buffers = list(buffers)
        self.session: Session | None = None
        self.closed = False
        self.ended = False
        self.last: StepResult | None = None
        self.copies = 0  # of tensors into or out of shared memory
        self.reattached = 0
        self._own_optimizer = own_optimizer
        self._options = options
        self._on_abort = on_abort
        self._model = model  # where it is known: who else may notice that its parameters are others
        self._device: torch.device | None = None  # since attach(), where it is not the host
        self._warned = False
        self._samples = 1
        self._loss: float | torch.Tensor | None = None

    # --- attaching ---------------------------------------------------------------------------------

    @property
    def attached(self) -> Session:
        if self.session is None:
            self.attach()
        assert self.session is not None
        return self.session

    @torch.no_grad()
    def attach(self) -> None:
        """Blocks until the run can train. The parameters then are the run's, in shared memory."""
        if self.session is not None:
            return
        if self.closed:
            raise FailedPrecondition("the session is closed: make a new optimizer to attach again")
        device = self.bound[0].parameter.device
        first = [one.parameter.detach().contiguous() for one in self.bound]
        held = [buffer.detach().cpu().contiguous() for _, buffer in self.buffers]
        if device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()  # what is copied has to be there
        tensors = [
            Tensor(one.name, tuple(one.parameter.shape), _DTYPES[one.parameter.dtype], one.group, value.data_ptr())
            for one, value in zip(self.bound, first)
        ]
        constants = [
            Constant(name, value.reshape(-1).view(torch.uint8).numpy()) for (name, _), value in zip(self.buffers, held)
        ]
        options = self._options
        session = Session(
            tensors,
            constants,
            socket=options.socket,
            local_rank=options.local_rank,
            local_world_size=options.local_world_size,
            timeout=options.timeout,
            device=device.type == "cuda",
            own_optimizer=self._own_optimizer,
            on_wait=options.on_wait,
        )
        for at, one in enumerate(self.bound):
            one.shared = torch.from_dlpack(session.parameters[at]).view(one.parameter.shape)
            one.address = one.shared.data_ptr()
            one.parameter.data = one.shared
            if session.gradients:
                one.gradient = torch.from_dlpack(session.gradients[at]).view(one.parameter.shape)
                if one.parameter.grad is not None:
                    self._take_gradient(one)
        for at, (_, buffer) in enumerate(self.buffers):
            value = torch.frombuffer(bytearray(session.constant(at)), dtype=buffer.dtype).view(buffer.shape)
            buffer.copy_(value)
        self.session = session
        self._device = device if device.type == "cuda" else None
        self.ended = False

    def close(self) -> None:
        """Leaves the run. The parameters stay as they are, and valid."""
        if self.session is not None:
            self.session.close()
            self.session = None
            self.closed = True

    def check_in_place(self) -> None:
        """A parameter that was replaced trains alone: better to say so."""
        own = None if self._model is None else dict(self._model.named_parameters())
        for one in self.bound:
            if one.parameter.data_ptr() != one.address or (own is not None and own.get(one.name) is not one.parameter):
                raise FailedPrecondition(
                    f"{one.name}: expected the parameter in the memory it was given at attach, it was replaced since; "
                    "model.to(), load_state_dict(assign=True) and tying weights have to come before"
                )

    # --- gradients ---------------------------------------------------------------------------------

    @torch.no_grad()
    def _take_gradient(self, one: Bound) -> None:
        assert one.gradient is not None
        grad = one.parameter.grad
        if grad is None:
            one.gradient.zero_()
        elif grad.layout != torch.strided:
            raise InvalidArgument(
                f"{one.name}: expected a dense gradient, got {grad.layout}: an embedding with sparse=True makes one"
            )
        elif grad.data_ptr() != one.gradient.data_ptr():
            one.gradient.copy_(grad)
            self.copies += 1
        one.parameter.grad = one.gradient

    def take_gradients(self) -> None:
        """Whatever backward made, in shared memory, and from now on made there."""
        touched = False
        for one in self.bound:
            if one.parameter.grad is not one.gradient:  # else zero_grad() has put it there
                touched = touched or one.parameter.grad is not None
                self._take_gradient(one)
            elif not touched:
                assert one.gradient is not None
                touched = one.gradient._version != one.version
        if not touched and not self._warned:
            self._warned = True
            warnings.warn(
                "isthmus: no gradient has reached any parameter since zero_grad(): the model may have others by now; "
                "load_state_dict(assign=True), tying weights and replacing layers have to come before the optimizer",
                RuntimeWarning,
                stacklevel=4,
            )

    @torch.no_grad()
    def zero_gradients(self) -> None:
        """In place: backward adds to shared memory then, and nothing is copied."""
        for one in self.bound:
            if one.gradient is None:
                one.parameter.grad = None
            else:
                one.gradient.zero_()
                one.version = one.gradient._version
                one.parameter.grad = one.gradient

    # --- steps -------------------------------------------------------------------------------------

    def say_next(self, samples: int, loss: float | torch.Tensor | None) -> None:
        self._samples = samples
        self._loss = loss.detach() if isinstance(loss, torch.Tensor) else loss

    def step(
        self,
        *,
        lr: Sequence[float] | None,
        weight_decay: Sequence[float] | None,
        skip: bool,
        meanwhile: Callable[[], None] | None = None,
    ) -> None:
        """One step of the run, or one local step of the job. After the run's end: nothing."""
        if self.ended:
            return
        session = self.attached
        loss = self._loss
        stream = None if self._device is None else torch.cuda.current_stream(self._device).cuda_stream
        try:
            self.last = session.step(
                lr=lr,
                weight_decay=weight_decay,
                samples=self._samples,
                loss=float("nan") if loss is None else float(loss),
                skip=skip,
                stream=stream,
                meanwhile=meanwhile,
            )
        except (Aborted, Unavailable) as why:
            self._abort(why)
            return
        if self.last.ended:
            self.ended = True

    def _abort(self, why: Exception) -> None:
        self.close()
        if self._on_abort == "raise":
            raise why
        self.closed = False
        for attempt in range(1, _ATTEMPTS + 1):
            warnings.warn(f"isthmus: {why}; attaching again, attempt {attempt} of {_ATTEMPTS}", RuntimeWarning, stacklevel=4)
            try:
                self.attach()
            except (Aborted, Unavailable) as again:
                why = again
                continue
            self.reattached += 1
            self.last = None
            return
        raise why

    @property
    def info(self) -> Info:
        return self.attached.info
