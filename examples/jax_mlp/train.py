"""JAX as a rank of an Isthmus run: an MLP that guesses each byte of a text from the eight before it.

isthmus rehearse --link 10mbit/20ms --steps 100 -- python train.py FILE
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

import isthmus

CONTEXT, WIDTH, BATCH = 8, 256, 256
text = np.frombuffer(pathlib.Path(sys.argv[1]).read_bytes(), np.uint8).astype(np.int32)
keys = jax.random.split(jax.random.key(1), 3)
model = {
    "embedding": 0.1 * jax.random.normal(keys[0], (256, 32)),
    "hidden": jax.random.normal(keys[1], (32 * CONTEXT, WIDTH)) / (32 * CONTEXT) ** 0.5,
    "output": jax.random.normal(keys[2], (WIDTH, 256)) / WIDTH**0.5,
}


def loss_of(model, context, following):
    hidden = jax.nn.gelu(model["embedding"][context].reshape(len(context), -1) @ model["hidden"])
    return -jnp.take_along_axis(jax.nn.log_softmax(hidden @ model["output"]), following[:, None], 1).mean()


loss_and_gradients = jax.jit(jax.value_and_grad(loss_of))
leaves, tree = jax.tree.flatten_with_path(model)
tensors = [isthmus.Tensor(jax.tree_util.keystr(path), leaf.shape, data=np.asarray(leaf)) for path, leaf in leaves]
with isthmus.Session(tensors) as session:
    parameters, gradients = ([buffer.numpy() for buffer in of] for of in (session.parameters, session.gradients))
    info = session.info
    random = np.random.default_rng([info.run_steps, info.group_index, info.rank])  # other batches at each rank
    for step in range(info.run_steps + 1, sys.maxsize):
        starts = random.integers(len(text) - CONTEXT, size=BATCH)
        windows = text[starts[:, None] + np.arange(CONTEXT + 1)]
        # Copied: JAX takes an array that it was given for one that never changes.
        model = jax.tree.unflatten(tree, [jnp.array(parameter) for parameter in parameters])
        loss, found = loss_and_gradients(model, windows[:, :-1], windows[:, -1])
        for buffer, gradient in zip(gradients, jax.tree.leaves(found)):
            buffer[...] = gradient
        result = session.step(lr=[0.003], samples=BATCH, loss=float(loss))
        if result.ended:
            break
        if info.group_index == info.rank == 0 and step % 20 == 0:
            print(f"step {step}: loss {result.loss:.3f}", flush=True)
