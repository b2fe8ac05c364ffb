"""A small GPT on bytes of English text: by itself, or as a rank of an Isthmus run.

    python train.py --text FILE                        alone, AdamW
    python train.py --text FILE --isthmus optimizer    the run's optimizer in the place of AdamW
    python train.py --text FILE --isthmus local        AdamW or Muon stays, exchanges now and then

What makes the first script the second or the third are the two lines that `make_optimizer` has of
each. Exit codes: 0 done, 130 after Ctrl-C; an error of Isthmus is raised as it is.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys

import torch
from torch import nn

import isthmus.torch


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.before_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(self.before_attention(x)).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, length, width))
        return x + self.mlp(self.before_mlp(x))


class GPT(nn.Module):
    """Predicts each byte from those before it."""

    def __init__(self, width: int = 128, layers: int = 4, heads: int = 4, context: int = 64) -> None:
        super().__init__()
        self.context = context
        self.token = nn.Embedding(256, width)
        self.position = nn.Embedding(context, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.last = nn.LayerNorm(width)
        self.head = nn.Linear(width, 256, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.token(tokens) + self.position.weight[: tokens.shape[1]]
        return self.head(self.last(self.blocks(x)))


def read(path: pathlib.Path) -> torch.Tensor:
    """The bytes of a file, or of all text files of a directory, one behind the other."""
    if not path.exists():
        raise SystemExit(f"train.py: --text: expected a file or a directory, there is no {path}")
    files = sorted(f for f in path.iterdir() if f.is_file() and not f.is_symlink()) if path.is_dir() else [path]
    raw = b"".join(f.read_bytes() for f in files if b"\0" not in f.read_bytes()[:1024])
    if len(raw) < 4096:
        raise SystemExit(f"train.py: expected 4096 bytes of text or more in {path}, got {len(raw)}")
    return torch.frombuffer(bytearray(raw), dtype=torch.uint8).long()


def batch_of(
    text: torch.Tensor, context: int, size: int, generator: torch.Generator, device: str
) -> tuple[torch.Tensor, torch.Tensor]:
    starts = torch.randint(len(text) - context - 1, (size,), generator=generator)
    windows = torch.stack([text[start : start + context + 1] for start in starts.tolist()]).to(device)
    return windows[:, :-1], windows[:, 1:]


def loss_of(model: nn.Module, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return nn.functional.cross_entropy(model(tokens).flatten(0, 1), targets.flatten())


@torch.no_grad()
def validate(model: GPT, text: torch.Tensor, device: str) -> float:
    generator = torch.Generator().manual_seed(0)
    model.eval()
    losses = [loss_of(model, *batch_of(text, model.context, 32, generator, device)).item() for _ in range(4)]
    model.train()
    return sum(losses) / len(losses)


def matrices_and_others(model: GPT) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Muon is for the matrices of blocks; embeddings, the head and vectors go by AdamW."""
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    chosen = {id(p) for p in matrices}
    return matrices, [p for p in model.parameters() if id(p) not in chosen]


class MuonAndAdamW(torch.optim.Optimizer):
    """Both as one optimizer, for schedulers and for LocalSteps."""

    def __init__(self, model: GPT, lr: float, weight_decay: float) -> None:
        matrices, others = matrices_and_others(model)
        super().__init__([{"params": matrices, "lr": 2 * lr}, {"params": others, "lr": lr}], {"weight_decay": weight_decay})
        self.parts = [
            torch.optim.Muon(matrices, lr=2 * lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(others, lr=lr, weight_decay=weight_decay),
        ]

    @torch.no_grad()
    def step(self, closure=None):
        for group, part in zip(self.param_groups, self.parts):
            part.param_groups[0]["lr"] = group["lr"]
            part.step()


def make_optimizer(args: argparse.Namespace, model: GPT) -> torch.optim.Optimizer:
    if args.isthmus == "optimizer":
        # Instead of AdamW: the run's optimizer, an exchange in every step.
        return isthmus.torch.Optimizer(model.named_parameters(), lr=args.lr, weight_decay=args.weight_decay)
    if args.own_optimizer == "muon":
        own: torch.optim.Optimizer = MuonAndAdamW(model, args.lr, args.weight_decay)
    else:
        own = torch.optim.AdamW(model.parameters(), lr=args.lr, weight_decay=args.weight_decay)
    # Around the optimizer: it stays, and sites exchange now and then how far they have gone.
    return isthmus.torch.LocalSteps(own, model) if args.isthmus == "local" else own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=pathlib.Path, required=True, help="a file, or a directory of text files")
    parser.add_argument("--isthmus", choices=("optimizer", "local"), help="as a rank of a run; by itself without")
    parser.add_argument("--own-optimizer", choices=("adamw", "muon"), default="adamw", help="where the script steps (default: adamw)")
    parser.add_argument("--steps", type=int, default=300, help="at most; a run ends by itself (default: 300)")
    parser.add_argument("--batch", type=int, default=8, help="sequences of this rank (default: 8)")
    parser.add_argument("--lr", type=float, default=0.003)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu, or cuda: with its worker's --ranks cuda (default: cpu)")
    parser.add_argument("--width", type=int, default=128, help="of the model (default: 128)")
    parser.add_argument("--layers", type=int, default=4, help="(default: 4)")
    parser.add_argument("--context", type=int, default=64, help="bytes that it sees (default: 64)")
    parser.add_argument("--save", type=pathlib.Path, help="the model, at the end, by rank 0 of the first site")
    args = parser.parse_args()
    if args.width < 32 or args.width % 32:
        parser.error(f"--width: expected a multiple of 32, got {args.width}")

    torch.manual_seed(args.seed)
    if "OMP_NUM_THREADS" not in os.environ:  # launchers of several ranks set it
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    text = read(args.text)
    split = len(text) * 9 // 10
    model = GPT(args.width, args.layers, heads=args.width // 32, context=args.context).to(args.device)
    optimizer = make_optimizer(args, model)
    in_run = args.isthmus is not None
    part, parts = optimizer.data_split() if in_run else (0, 1)
    first = optimizer.info.run_steps if in_run else 0  # who joins late goes on where the run is
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [g["lr"] for g in optimizer.param_groups], total_steps=args.steps + 1, cycle_momentum=False
    )
    for step in range(first, args.steps):
        generator = torch.Generator().manual_seed((args.seed * 1_000_003 + step) * parts + part)
        loss = loss_of(model, *batch_of(text[:split], model.context, args.batch, generator, args.device))
        optimizer.zero_grad()
        loss.backward()
        if in_run:
            optimizer.samples, optimizer.loss = args.batch, loss
        optimizer.step()
        rates.step()
        if in_run and optimizer.ended:
            break
        if part == 0 and (step + 1) % 20 == 0:
            print(f"step {step + 1}: loss {loss.item():.3f}", flush=True)
    if part == 0:
        print(f"validation loss {validate(model, text[split:], args.device):.4f}", flush=True)
        if args.save:
            torch.save(model.state_dict(), args.save)
    if in_run:
        optimizer.close()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
