"""What the tests of isthmus.torch train: small, and of dyadic numbers where bits matter."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import torch

import isthmus.torch


_drawing = threading.Lock()  # torch's generator is one for all threads, of which a test may have one for each rank


def mlp(seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.nn.Sequential:
    with _drawing:
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.Tanh(), torch.nn.Linear(32, 8)).to(dtype)


def batch(step: int, part: int = 0, size: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """Of a task that an mlp can learn; the same for the same numbers, whoever asks."""
    generator = torch.Generator().manual_seed(1000 * step + part)
    inputs = torch.randn(size, 16, generator=generator)
    teacher = torch.randn(16, 8, generator=torch.Generator().manual_seed(7))
    return inputs, inputs @ teacher / 4


def loss_of(model: torch.nn.Module, step: int, part: int = 0) -> torch.Tensor:
    inputs, targets = batch(step, part)
    return torch.nn.functional.mse_loss(model(inputs), targets)


def flat(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().reshape(-1).clone() for parameter in model.parameters()])


def train(
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int,
    *,
    part: int = 0,
    first: int = 0,
    each: Callable[[int], Any] = lambda step: None,
) -> list[float]:
    losses = []
    for step in range(first, first + steps):
        optimizer.zero_grad()
        loss = loss_of(model, step, part)
        loss.backward()
        if isinstance(optimizer, (isthmus.torch.Optimizer, isthmus.torch.LocalSteps)):
            optimizer.loss = loss
        optimizer.step()
        losses.append(loss.item())
        each(step)
    return losses


def attach(run: Any, model: torch.nn.Module, site: int = 1, rank: int = 0, **settings: Any) -> isthmus.torch.Optimizer:
    settings.setdefault("lr", 0.125)
    return isthmus.torch.Optimizer(model.named_parameters(), socket=run.socket(site), local_rank=rank, **settings)
