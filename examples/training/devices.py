"""Data-parallel training: the same parameters on every device, of every process, and a share of each batch.

All processes run the same script on the same data. Each draws the whole batch, places its own devices' share of it, and
gets the mean of the gradients over all devices; so the parameters stay the same everywhere.
"""

import pickle
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from training import InputError

BATCH = "batch"


def join(coordinator: str | None, processes: int | None, process_id: int | None) -> None:
    """Joins the other processes; for "auto", as the cluster (Slurm, Open MPI, a TPU pod) describes them."""
    if coordinator in (None, "auto"):
        if (processes, process_id) != (None, None):
            raise InputError("arguments --processes and --process-id: expected --coordinator HOST:PORT with them")
    elif processes is None or process_id is None or process_id >= processes:
        raise InputError("argument --coordinator: expected --processes N, and --process-id from 0 to N - 1, with it")
    if coordinator is None:
        return
    try:
        jax.distributed.initialize(None if coordinator == "auto" else coordinator, processes, process_id)
        multihost_utils.sync_global_devices("joined")  # or who compiles half a minute longer would be given up
    except (RuntimeError, ValueError) as error:
        raise InputError(f"argument --coordinator: {coordinator}: cannot join the processes ({error})") from error


def make_mesh(devices: str, batch_size: int) -> Mesh | None:
    """All devices of all processes in a row; None for one device, which needs no mesh."""
    if devices == "one" and jax.process_count() > 1:
        raise InputError("argument --devices: expected all, for several processes")
    if devices == "one" or jax.device_count() == 1:
        return None
    if batch_size % jax.device_count():
        raise InputError(
            f"argument --batch-size: expected a multiple of {jax.device_count()} devices, got {batch_size}"
        )
    return Mesh(np.asarray(jax.devices()), BATCH)


def share(mesh: Mesh | None, *arrays: np.ndarray) -> tuple[Any, ...]:
    """The arrays, each split over the devices along its first axis."""
    return arrays if mesh is None else _place(arrays, NamedSharding(mesh, PartitionSpec(BATCH)))


def replicate(mesh: Mesh | None, tree: Any) -> Any:
    """A copy of the tree on every device."""
    return tree if mesh is None else _place(tree, NamedSharding(mesh, PartitionSpec()))


def local(tree: Any) -> Any:
    """This process's own copy of a replicated tree, on its first device."""
    return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def broadcast(value: Any) -> Any:
    """Process 0's value, whatever it is, to all."""
    if jax.process_count() == 1:
        return value
    content = np.frombuffer(pickle.dumps(value), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(content.size)))
    return pickle.loads(bytes(multihost_utils.broadcast_one_to_all(np.resize(content, size))))


def mean_over(mesh: Mesh | None, value_and_grad: Callable[..., Any]) -> Callable[..., Any]:
    """value_and_grad(params, x, y) of a mean over the batch, each device taking its share of the batch."""
    if mesh is None:
        return value_and_grad

    def of_one_device(params, x, y):
        params = jax.lax.pcast(params, BATCH, to="varying")  # to each device a gradient of its own
        return jax.lax.pmean(value_and_grad(params, x, y), BATCH)

    split = PartitionSpec(BATCH)
    return jax.shard_map(of_one_device, mesh=mesh, in_specs=(PartitionSpec(), split, split), out_specs=PartitionSpec())


def _place(tree: Any, sharding: NamedSharding) -> Any:
    place = lambda leaf: jax.make_array_from_callback(leaf.shape, sharding, lambda part: np.asarray(leaf)[part])
    return jax.tree.map(place, tree)
