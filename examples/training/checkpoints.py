"""Checkpoints of a training run, by orbax: the last two in a directory, each complete or not there at all.

A checkpoint has two parts: `state`, the bytes of a tree of arrays, and `history`, JSON: what the script wants back,
what tells this run from another, and a checksum. The state is one vector because orbax reads all arrays of a tree at
once, and where one is broken the readers of the others die loudly.
"""

import copy
import errno
import logging
import os
import sys
import textwrap
import warnings
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from training import InputError, by_name

logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax logs the tracebacks of errors that it raises as well
warnings.filterwarnings("ignore", "coroutine .* was never awaited")  # when it fails to start writing
FULL = os.strerror(errno.ENOSPC)


class Checkpoints:
    """Those of the run that `identity` describes; a directory in use is taken only to `resume` its run."""

    def __init__(self, directory: Path, identity: dict[str, Any], resume: bool):
        self.directory, self.identity = directory.absolute(), identity
        alone = ocp.options.MultiprocessingOptions(active_processes={0}, barrier_sync_key_prefix="checkpoints")
        options = ocp.CheckpointManagerOptions(
            max_to_keep=2, create=False, cleanup_tmp_directories=True, multiprocessing_options=alone
        )
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.manager = ocp.CheckpointManager(self.directory, options=options)
            used = any(ocp.path.step.TMP_DIR_SUFFIX not in path.name for path in self.directory.iterdir())
        except OSError as error:
            raise InputError(f"{directory}: no place for checkpoints ({error.strerror or error})") from error
        if used and not resume:
            raise InputError(f"{directory}: not empty; --resume continues the run in it")
        if used and not self.manager.all_steps():
            raise InputError(f"{directory}: not empty, and has no checkpoint to resume from")

    def save(self, step: int, state: Any, history: dict[str, Any]) -> None:
        """Copies the state now, and writes it while training goes on."""
        vector = pack(state)
        own = {"identity": self.identity, "arrays": describe(state), "checksum": zlib.crc32(vector)}
        parts = {"state": ocp.args.ArraySave(vector), "history": ocp.args.JsonSave({**own, **copy.deepcopy(history)})}
        self.write(lambda: self.manager.save(step, args=ocp.args.Composite(**parts)))

    def finish(self) -> None:
        """Waits for what is still being written."""
        self.write(self.manager.wait_until_finished)

    def write(self, action: Any) -> None:
        """The action, which may also fail for what an earlier one has left to do."""
        try:
            action()
        except Exception as error:  # OSError, or tensorstore's ValueError
            reason = FULL if FULL in str(error) else one_line(error)
            last = max(self.manager.all_steps(read=True), default="none")
            raise InputError(
                f"{self.directory}: cannot write a checkpoint: {reason}; the last good one: {last}"
            ) from error

    def restore(self, like: Any) -> tuple[int, Any, dict[str, Any]] | None:
        """Step, state and history of the newest checkpoint that is whole and this run's; None before the first.

        Newer ones are refused in a line each on stderr, and moved out of the way.
        """
        refused = []
        for step in sorted(self.manager.all_steps(), reverse=True):
            try:
                state, history = self.read(step, like)
            except Exception as error:  # whatever a broken file may raise
                print(f"{self.directory / str(step)}: checkpoint refused: {one_line(error)}", file=sys.stderr)
                refused.append(step)
                continue
            for other in refused:
                (self.directory / str(other)).rename(self.directory / f"{other}.refused-{os.getpid()}")
            self.manager.reload()
            return step, state, history
        if refused:
            raise InputError(f"{self.directory}: no checkpoint that this run can resume from")
        return None

    def read(self, step: int, like: Any) -> tuple[Any, dict[str, Any]]:
        history = self.manager.restore(step, args=ocp.args.Composite(history=ocp.args.JsonRestore())).history
        theirs = history.get("identity", {})
        for name, value in self.identity.items():
            if theirs.get(name) != value:
                raise InputError(f"it is of another run: {name} {theirs.get(name)}, not {value}")
        if history["arrays"] != describe(like):
            raise InputError("it is of another network")
        vector = self.manager.restore(step, args=ocp.args.Composite(state=ocp.args.ArrayRestore())).state
        if zlib.crc32(vector) != history["checksum"]:
            raise InputError("its checksum is wrong")
        return unpack(vector, like), history


def describe(tree: Any) -> dict[str, str]:
    return {name: f"{leaf.dtype}{leaf.shape}" for name, leaf in by_name(tree).items()}


def pack(tree: Any) -> np.ndarray:
    return np.frombuffer(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)), np.uint8)


def unpack(vector: np.ndarray, like: Any) -> Any:
    leaves, structure = jax.tree.flatten(like)
    parts = np.split(vector, np.cumsum([leaf.nbytes for leaf in leaves])[:-1])
    return structure.unflatten(
        [np.frombuffer(part.tobytes(), leaf.dtype).reshape(leaf.shape) for part, leaf in zip(parts, leaves)]
    )


def one_line(error: Exception) -> str:
    return textwrap.shorten(str(error) or type(error).__name__, 160, placeholder=" …")
