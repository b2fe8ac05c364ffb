"""Any PyTorch optimizer, and an exchange with other sites now and then."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import torch

from isthmus.errors import FailedPrecondition, InvalidArgument
from isthmus.torch._binding import Binding, Bound, OnAbort, SessionOptions
from isthmus.torch._wrapped import Wrapped


def _persistent(model: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    saved = model.state_dict(keep_vars=True)
    return [(name, buffer) for name, buffer in model.named_buffers() if name in saved and buffer.numel() > 0]


class LocalSteps(Wrapped):
    """Around the optimizer that a job has: it goes on stepping, and exchanges by a run of scheme `local`.

        optimizer = isthmus.torch.LocalSteps(AdamW(model.parameters(), lr=3e-4), model)

    Every so many steps, as the run spec says, the sites exchange how far their models have gone. Each
    site's parameters are its own in between; read_anchor() gives what all have in common, for
    evaluation and checkpoints. Settings, state and state_dict() are the wrapped optimizer's.

    Attaches when it is made and blocks until the run can train: parameters then are those that all
    sites start from.

    :param optimizer: any torch.optim.Optimizer of the model's parameters.
    :param model: whose trainable parameters are exchanged; its persistent buffers are carried along.
    :param every: steps from one exchange to the next that the script expects: refused where the run
        has others. None: whatever the run has.
    :param on_abort: as `Optimizer` has it; steps since the last exchange are lost.
    :param attach: as `Optimizer` has it.
    :param socket: and the rest: as `isthmus.Session` has them.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        model: torch.nn.Module,
        *,
        every: int | None = None,
        buffers: Iterable[tuple[str, torch.Tensor]] | None = None,
        on_abort: OnAbort = "raise",
        attach: bool = True,
        socket: str | os.PathLike[str] | None = None,
        local_rank: int | None = None,
        local_world_size: int | None = None,
        timeout: float = 600.0,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise InvalidArgument(f"optimizer: expected a torch.optim.Optimizer, got {type(optimizer).__name__}")
        if isinstance(optimizer, Wrapped):
            raise InvalidArgument(f"optimizer: expected one of the job's own, got isthmus.torch.{type(optimizer).__name__}")
        if not isinstance(model, torch.nn.Module):
            raise InvalidArgument(f"model: expected a torch.nn.Module, got {type(model).__name__}")
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        known = {id(parameter) for _, parameter in named}
        for index, group in enumerate(optimizer.param_groups):
            for at, parameter in enumerate(group["params"]):
                if parameter.requires_grad and id(parameter) not in known:
                    raise InvalidArgument(
                        f"optimizer: expected parameters of the model, parameter {at} of group {index}, "
                        f"of shape {tuple(parameter.shape)}, is none"
                    )
        self._inner = optimizer
        self._every = every
        self._binding = Binding(
            [Bound(name, parameter) for name, parameter in named],
            _persistent(model) if buffers is None else buffers,
            own_optimizer=True,
            options=SessionOptions(socket, local_rank, local_world_size, timeout, on_wait),
            on_abort=on_abort,
            model=model,
        )
        # Not the base class's constructor: groups, state and hooks are the wrapped optimizer's.
        self.defaults = optimizer.defaults
        self._optimizer_step_pre_hooks = optimizer._optimizer_step_pre_hooks
        self._optimizer_step_post_hooks = optimizer._optimizer_step_post_hooks
        if attach:
            self.attach()

    def attach(self) -> None:
        if self._binding.session is not None:
            return
        super().attach()
        has = self.info.every_steps
        if self._every is not None and has != self._every:
            self.close()
            counted = f"every {has} steps" if has > 0 else "by samples or time"
            raise FailedPrecondition(f"every: expected an exchange every {self._every} steps, the run exchanges {counted}")

    @property
    def inner(self) -> torch.optim.Optimizer:
        """The job's own optimizer."""
        return self._inner

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        return self._inner.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        return self._inner.state

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        self._inner.add_param_group(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self._inner.zero_grad(set_to_none)

    @torch.compiler.disable
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """A step of the job's optimizer, then, where it is due, of the run.

        Where GradScaler has found an infinity, or skip() was called, the job's optimizer does not
        step, but the step counts: all ranks of a site count the same. After the run's end only the
        job's optimizer steps, for itself.
        """
        binding = self._binding
        if not binding.ended:
            self.attach()
        if self._take_skip():
            loss = None
        else:
            if "grad_scale" in self.__dict__:
                self._unscale([one.parameter for one in binding.bound])
            loss = self._inner.step(closure)  # type: ignore[arg-type]
        if binding.ended:
            return loss
        if binding.last is None or binding.last.exchanged:  # once a period: it is a look at every parameter
            binding.check_in_place()
        binding.say_next(self.samples, self.loss if loss is None else loss)
        binding.step(lr=None, weight_decay=None, skip=False)
        return loss

    step.hooked = True  # type: ignore[attr-defined]  # hooks and the profiler: the wrapped optimizer's step() sees to them

    @torch.no_grad()
    def read_anchor(self) -> dict[str, torch.Tensor]:
        """The parameters that all sites have in common, by name, on the CPU: for evaluation and
        checkpoints. At every rank, between the same two steps."""
        anchor = {one.name: torch.empty(one.parameter.shape, dtype=one.parameter.dtype) for one in self._binding.bound}
        self._binding.attached.read_anchor([tensor.data_ptr() for tensor in anchor.values()])
        return anchor

    def state_dict(self) -> dict[str, Any]:
        """The wrapped optimizer's: a checkpoint of it serves with and without Isthmus."""
        return self._inner.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._inner.load_state_dict(state_dict)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._inner, name)

    def __repr__(self) -> str:
        return f"LocalSteps({self._inner!r})"
