"""What a training script needs beside its network: data, results, devices, mixed precision, checkpoints."""

from typing import Any

import jax


class InputError(Exception):
    """What the user can mend: ends as one line on stderr and exit code 2."""


def by_name(tree: Any) -> dict[str, Any]:
    """The leaves of a tree, under names such as conv1/w."""
    named = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
    return {named(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}
