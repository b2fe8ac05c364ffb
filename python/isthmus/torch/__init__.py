"""Isthmus for PyTorch: two changed lines, and a job trains one model with other sites.

    optimizer = isthmus.torch.Optimizer(model.named_parameters(), lr=3e-4)
    optimizer = isthmus.torch.LocalSteps(AdamW(model.parameters(), lr=3e-4), model)

The first exchanges in every step, by the run's scheme; the second keeps the job's optimizer and
exchanges now and then. docs/pytorch.md says how to begin.
"""

from isthmus.torch.local_steps import LocalSteps
from isthmus.torch.optimizer import Optimizer

__all__ = ["LocalSteps", "Optimizer"]
