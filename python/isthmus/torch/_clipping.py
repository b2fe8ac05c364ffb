"""The norm of a site's mean gradient, clipped.

Internal: of `Optimizer(max_norm=...)`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from isthmus.errors import FailedPrecondition, InvalidArgument


def check_max_norm(max_norm: float | None) -> None:
    if max_norm is not None and not (max_norm > 0 and math.isfinite(max_norm)):
        raise InvalidArgument(f"max_norm: expected a number above 0, got {max_norm!r}")


def check_world(ranks: int, reduced: bool) -> None:
    """Whether ranks of the site can average among themselves, or need not."""
    if ranks == 1 or reduced:
        return
    world = torch.distributed.get_world_size() if torch.distributed.is_available() and torch.distributed.is_initialized() else 0
    if world != ranks:
        raise FailedPrecondition(
            f"max_norm: expected the site's {ranks} ranks in torch.distributed, to average their gradients before the norm is "
            + (f"taken, its world has {world}" if world else "taken, it is not initialized")
            + "; or gradients='reduced', where they are averaged already"
        )


@torch.no_grad()
def clip(gradients: Sequence[torch.Tensor], max_norm: float, *, ranks: int, samples: int, skip: bool) -> bool:
    """Makes of each rank's gradients their mean, weighted by samples, of a norm of at most `max_norm`.

    :param ranks: that average among themselves here; 1 where each has the mean already.
    :returns: whether the site sits the round out: a rank of it skips, and then nothing is averaged.
    """
    if ranks > 1:
        total = torch.tensor([float(samples), float(skip)], dtype=torch.float64, device=gradients[0].device)
        torch.distributed.all_reduce(total)
        samples_of_site, skipping = total.tolist()
        if skipping:
            return True
        torch._foreach_mul_(list(gradients), samples / samples_of_site)
        for gradient in gradients:
            torch.distributed.all_reduce(gradient)
    if not skip:
        norm = torch.nn.utils.get_total_norm(gradients)
        torch._foreach_mul_(list(gradients), (max_norm / (norm + 1e-6)).clamp(max=1.0))
    return skip
