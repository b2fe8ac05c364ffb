"""A run's optimizer for PyTorch: the worker owns it, and exchanges in every step."""

from __future__ import annotations

import array
import os
import warnings
from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch

from isthmus.errors import FailedPrecondition, InvalidArgument
from isthmus.torch._binding import Binding, Bound, OnAbort, SessionOptions, check_groups
from isthmus.torch._clipping import check_max_norm, check_world, clip
from isthmus.torch._wrapped import Wrapped, hooked_where_watched

Named = Iterable[tuple[str, torch.nn.Parameter]] | Iterable[dict[str, Any]]


def _named(params: Any) -> list[tuple[str, torch.nn.Parameter]]:
    pairs = list(params)
    for at, pair in enumerate(pairs):
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise InvalidArgument(
                f"parameter {at}: expected a name and a parameter, as model.named_parameters() has them, "
                f"got {type(pair).__name__}; names are how sites know that they train the same model"
            )
    return pairs


class Optimizer(Wrapped):
    """In the place of AdamW(...): trains one model with other sites, by the scheme of the run.

        optimizer = isthmus.torch.Optimizer(model.named_parameters(), lr=3e-4)

    Gradients are handed to the worker, which compresses them, exchanges with the other sites and
    steps; parameters are the run's after step(), the same bit for bit at every site. Parameters and
    gradients live in memory that is shared with the worker: zero_grad() zeroes in place, whatever
    `set_to_none` says, so that backward adds there and nothing is copied.

    Attaches when it is made and blocks until the run can train: parameters then are those that all
    sites start from. state_dict() holds the groups' settings and the round, no momentum: that is the
    worker's, and part of the run.

    :param params: model.named_parameters(), or groups of them: [{"params": [...], "lr": ...}].
    :param lr: learning rate, also a schedule's: read in every step.
    :param weight_decay: decoupled.
    :param gradients: "local": each rank's own, the worker averages them within the site; "reduced":
        DDP has averaged them; "auto" takes either.
    :param max_norm: clips the norm of the site's mean gradient. Where ranks have each their own, they average
        them by torch.distributed first, whose world is the site; `clip_grad_norm_` would clip each rank's.
    :param on_abort: "raise", or "reattach" where a session ends though every rank lives: that step
        is not taken, and the model is the run's again. Where a rank has died raise, and let the
        launcher start all again.
    :param attach: False to attach with attach() or the first step(), for frameworks that replace
        parameters after they have made the optimizer.
    :param socket: and the rest: as `isthmus.Session` has them.
    """

    def __init__(
        self,
        params: Named,
        lr: float | torch.Tensor = 1e-3,
        weight_decay: float = 0.0,
        *,
        gradients: Literal["auto", "local", "reduced"] = "auto",
        max_norm: float | None = None,
        buffers: Iterable[tuple[str, torch.Tensor]] = (),
        on_abort: OnAbort = "raise",
        attach: bool = True,
        socket: str | os.PathLike[str] | None = None,
        local_rank: int | None = None,
        local_world_size: int | None = None,
        timeout: float = 600.0,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        if gradients not in ("auto", "local", "reduced"):
            raise InvalidArgument(f"gradients: expected 'auto', 'local' or 'reduced', got {gradients!r}")
        check_max_norm(max_norm)
        groups = list(params)
        if not groups or not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        check_groups(len(groups))
        bound: list[Bound] = []
        plain: list[dict[str, Any]] = []
        for index, group in enumerate(groups):
            pairs = _named(group["params"])
            trained = [(name, p) for name, p in pairs if not isinstance(p, torch.Tensor) or p.requires_grad]
            bound += [Bound(name, parameter, index) for name, parameter in trained]
            plain.append({**group, "params": [parameter for _, parameter in trained]})
        self._binding = Binding(
            bound,
            buffers,
            own_optimizer=False,
            options=SessionOptions(socket, local_rank, local_world_size, timeout, on_wait),
            on_abort=on_abort,
        )
        self._reduced = gradients == "reduced"
        self._max_norm = max_norm
        self._count = array.array("f", [0.0])
        super().__init__(plain, {"lr": lr, "weight_decay": weight_decay})
        if attach:
            self.attach()

    def attach(self) -> None:
        super().attach()
        if self._max_norm is not None:
            try:
                check_world(self.info.world_size, self._reduced)
            except FailedPrecondition:
                self.close()
                raise
        if not self.state:  # checkpoint tools take an optimizer without state for one that is new
            self._count[0] = self.round
            self._show_count()

    def _show_count(self) -> None:
        """As every parameter's state. One tensor over a plain number: a call of torch to count with would
        cost a hundred microseconds of each step, after the wait for the others."""
        step = torch.frombuffer(self._count, dtype=torch.float32).reshape(())
        for one in self._binding.bound:
            self.state[one.parameter] = {"step": step}

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        if hasattr(self, "_binding") and self._binding.session is not None:
            raise InvalidArgument("param_groups: expected those that were attached; a group cannot be added to a run")
        super().add_param_group(param_group)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self._binding.zero_gradients()

    @hooked_where_watched
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Exchanges, and blocks until the parameters are new. After the run's end: nothing.

        A gradient that is missing is zero; a sparse one is refused. Where GradScaler has found an
        infinity, or skip() was called, the site sits the round out, and is given it like others.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        binding = self._binding
        if binding.ended:
            return loss
        if binding.session is None:
            self.attach()
        skip = self._take_skip()
        binding.take_gradients()
        if not skip and "grad_scale" in self.__dict__:
            self._unscale([one.parameter for one in binding.bound])
        if self._max_norm is not None:
            skip = self._clip(self._max_norm, skip)
        binding.say_next(self.samples, self.loss if loss is None else loss)
        binding.step(
            lr=[float(group["lr"]) for group in self.param_groups],
            weight_decay=[float(group["weight_decay"]) for group in self.param_groups],
            skip=skip,
            meanwhile=binding.check_in_place,
        )
        self._count[0] += 1
        return loss

    def _clip(self, max_norm: float, skip: bool) -> bool:
        gradients = [one.gradient for one in self._binding.bound if one.gradient is not None]
        ranks = 1 if self._reduced else self.info.world_size
        return clip(gradients, max_norm, ranks=ranks, samples=self.samples, skip=skip)

    def state_dict(self) -> dict[str, Any]:
        state = super().state_dict()
        state["isthmus"] = {"round": self.round if self._binding.session is not None else 0}
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes the groups' settings. The model, the optimizer's momentum and the round are the run's."""
        state = dict(state_dict)
        saved = state.pop("isthmus", {"round": 0})["round"]
        super().load_state_dict(state)
        counts = [of["step"] for of in self.state.values() if "step" in of]
        if counts:
            self._count[0] = float(counts[0])
        if counts or self._binding.session is not None:
            self._show_count()
        if self._binding.session is not None and saved != self.round:
            warnings.warn(
                f"isthmus: the checkpoint is of round {saved}, the run is at {self.round}: its parameters stay, "
                "what was loaded are the groups' settings",
                RuntimeWarning,
                stacklevel=2,
            )
