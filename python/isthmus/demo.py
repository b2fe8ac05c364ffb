"""A training job of Python alone, to see that an installation works, and a link.

    isthmus rehearse --link 1mbit/40ms --steps 60 -- python3 -m isthmus.demo

It learns which character follows which in English text: 4096 parameters, a rank of the run that
ISTHMUS_SOCKET leads to. Needs no other package; training is better done with isthmus.torch.
"""

from __future__ import annotations

import argparse
import array
import math
import pathlib
import random
import sys

import isthmus

ALPHABET = " abcdefghijklmnopqrstuvwxyz.,;:'\"()-"
SIZE = 64  # characters at most; all others are a blank


def encode(text: str) -> list[int]:
    place = {character: index for index, character in enumerate(ALPHABET)}
    return [place.get(character, 0) for character in " ".join(text.lower().split())]


def read(path: pathlib.Path | None) -> list[int]:
    """A file's text; by default what Python itself says of its language."""
    if path is not None:
        return encode(path.read_text(errors="replace"))
    from pydoc_data import topics

    return encode("\n".join(topics.topics[name] for name in sorted(topics.topics)))


def add_gradient(logits: memoryview, before: int, after: int, weight: float, gradient: memoryview) -> float:
    """Of the cross entropy of `after`, by the row of `before`; that is returned."""
    row = logits[before * SIZE : (before + 1) * SIZE].tolist()
    highest = max(row)
    powers = [math.exp(logit - highest) for logit in row]
    scale = weight / sum(powers)
    start = before * SIZE
    for index, power in enumerate(powers):
        gradient[start + index] += power * scale
    gradient[start + after] -= weight
    return weight * (math.log(sum(powers)) + highest - row[after])


def train(args: argparse.Namespace) -> None:
    text = read(args.text)
    if len(text) < 2:
        raise isthmus.InvalidArgument(f"--text: expected two characters or more, got {len(text)}")
    logits = isthmus.Tensor("following.weight", (SIZE, SIZE))
    with isthmus.Session([logits], own_optimizer=args.own_optimizer) as session:
        parameters = session.parameters[0].memory().cast("f")
        own = memoryview(array.array("f", bytes(4 * SIZE * SIZE)))
        gradient = own if args.own_optimizer else session.gradients[0].memory().cast("f")
        info = session.info
        part, parts = info.group_index * info.world_size + info.rank, info.group_count * info.world_size
        zeros = bytes(4 * SIZE * SIZE)
        step, mean = info.run_steps, math.nan
        while True:
            generator = random.Random(step * parts + part)  # the same batches whenever it is tried
            gradient.cast("B")[:] = zeros
            loss = 0.0
            for _ in range(args.batch):
                at = generator.randrange(len(text) - 1)
                loss += add_gradient(parameters, text[at], text[at + 1], 1 / args.batch, gradient)
            if args.own_optimizer:
                for index in range(SIZE * SIZE):
                    parameters[index] -= 20 * args.lr * gradient[index]
            result = session.step(lr=[args.lr], samples=args.batch, loss=loss)
            if result.ended:
                break
            step += 1
            mean = result.loss if result.exchanged else mean
            if part == 0 and step % 10 == 0 and not math.isnan(mean):
                print(f"step {step}: loss of all sites {mean:.3f}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python3 -m isthmus.demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=pathlib.Path, help="of any kind (default: the help that comes with Python)")
    parser.add_argument("--batch", type=int, default=64, help="pairs of characters a step and rank (default: 64)")
    parser.add_argument("--lr", type=float, default=0.05, help="(default: 0.05)")
    parser.add_argument("--own-optimizer", action="store_true", help="steps by itself, for runs of scheme local")
    try:
        train(parser.parse_args())
    except (isthmus.IsthmusError, OSError) as why:
        print(f"isthmus.demo: {why}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
