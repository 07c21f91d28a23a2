"""Dense layers: `jnp.dot`."""

import jax.numpy as jnp

from jaxcnn.arguments import accumulator, promote, to_precision, to_result_dtype


def dense(x, w, b=None, *, precision=None, preferred_element_type=None):
    x, w, b = promote(x, w, b)
    result = to_result_dtype("dense", preferred_element_type, x.dtype)
    compute = x.dtype if result == x.dtype else accumulator(x.dtype, result)
    z = jnp.dot(x.astype(compute), w.astype(compute), precision=to_precision("dense", precision))
    return (z if b is None else z + b.astype(compute).reshape((1,) * (z.ndim - 1) + b.shape)).astype(result)
