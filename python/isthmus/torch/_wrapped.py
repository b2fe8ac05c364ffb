"""What both optimizers show of their session, and how they answer PyTorch's machinery."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

import torch

from isthmus.session import Info, StepResult
from isthmus.torch._binding import Binding, cannot_be_copied

_Step = TypeVar("_Step", bound=Callable[..., Any])
_hooks = importlib.import_module("torch.optim.optimizer")  # of all optimizers; torch.optim hides it


def _is_watched(optimizer: torch.optim.Optimizer) -> bool:
    return bool(
        getattr(torch.autograd.profiler, "_is_profiler_enabled", True)
        or optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or getattr(_hooks, "_global_optimizer_pre_hooks", True)
        or getattr(_hooks, "_global_optimizer_post_hooks", True)
    )


def hooked_where_watched(step: _Step) -> _Step:
    """A step() that PyTorch's profiler sees and around which its hooks run, where there are any, and that
    a compiler leaves alone, where there is one.

    PyTorch wraps that of every optimizer for hooks, always, and torch.compiler.disable() whatever it is
    given; after a wait for other sites, when no cache is warm, that takes 0.2 ms and 0.1 ms. Were `hooked`
    to mean nothing one day, it would be wrapped again.
    """
    untraced = torch.compiler.disable(step)
    watched = torch.optim.Optimizer.profile_hook_step(untraced)

    @functools.wraps(step)
    def wrapped(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        if _is_watched(self):
            return watched(self, *args, **kwargs)
        return (untraced if torch.compiler.is_compiling() else step)(self, *args, **kwargs)

    wrapped.hooked = True  # type: ignore[attr-defined]
    return wrapped  # type: ignore[return-value]


class Wrapped(torch.optim.Optimizer):
    """Internal: a torch.optim.Optimizer whose parameters are those of a run."""

    # GradScaler: step() is called whatever the gradients are, since the others wait for an answer.
    _step_supports_amp_scaling = True

    _binding: Binding

    #: Sequences, or whatever is counted, in this rank's batch: its weight. Set before step().
    samples: int = 1
    #: Of this rank's batch, a number or a tensor of one; only reported. Set before step().
    loss: float | torch.Tensor | None = None

    def attach(self) -> None:
        """Attaches, if the constructor did not; step() does as well."""
        self._binding.attach()

    def close(self) -> None:
        """Leaves the run; the worker keeps its state. The model stays as it is."""
        self._binding.close()

    @property
    def info(self) -> Info:
        """Where this rank stands."""
        return self._binding.info

    @property
    def round(self) -> int:
        """The last round applied: what schedules of the run begin from, when a rank joins late."""
        return self._binding.info.round

    @property
    def ended(self) -> bool:
        """The run is over, and step() does nothing any more."""
        return self._binding.ended

    @property
    def last(self) -> StepResult | None:
        """What came of the last step; None before the first, and after attaching again."""
        return self._binding.last

    @property
    def copies(self) -> int:
        """Tensors that were copied into shared memory so far, since torch had them elsewhere."""
        return self._binding.copies

    @property
    def reattached(self) -> int:
        """How often a session was begun again after an abort."""
        return self._binding.reattached

    def data_split(self, rank: int | None = None, world_size: int | None = None) -> tuple[int, int]:
        """Which part of the data this rank reads, of how many among all sites: (index, count).

        By default ranks are those of the session; who has others (a data-parallel rank in a mesh)
        says which.
        """
        info = self._binding.info
        rank = info.rank if rank is None else rank
        world_size = info.world_size if world_size is None else world_size
        return info.group_index * world_size + rank, info.group_count * world_size

    def skip(self) -> None:
        """What this rank has is unusable: the next step() says so, and its site sits the round out."""
        self._skip = True

    _skip = False

    def _take_skip(self) -> bool:
        found = self.__dict__.get("found_inf")  # GradScaler's, while it steps
        skip = self._skip or (found is not None and bool(found.item()))
        self._skip = False
        return skip

    @torch.no_grad()
    def _unscale(self, parameters: list[torch.nn.Parameter]) -> None:
        scale = self.__dict__.get("grad_scale")
        if scale is None:
            return
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.div_(scale.to(parameter.grad.device))

    def __deepcopy__(self, memo: dict[int, Any]) -> NoReturn:
        raise cannot_be_copied(self)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise cannot_be_copied(self)
