"""The three maps of a convolution, and where each is computed how.

    forward           z[n,p,k]   = Σ_{i,c} x̃[n, s·p + d·i, c] · w[i,c,k]
    input gradient    dx̃[n,a,c]  = Σ_{(p,i): s·p + d·i = a} Σ_k dz[n,p,k] · w[i,c,k]      (then the padding is cropped)
    kernel gradient   dw[i,c,k]  = Σ_{n,p} x̃[n, s·p + d·i, c] · dz[n,p,k]

x̃ is the padded input. All three are linear in each argument and adjoint to one another:
⟨forward(x, w), dz⟩ = ⟨x, input_gradient(dz, w)⟩ = ⟨w, kernel_gradient(x, dz)⟩.

Arrays are channels-last, results have the dtype `conv.accumulate`. Where a sum is empty (no example, no output, no
channel) it is zero.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap

from jaxcnn.algorithms import accelerator, choice, native
from jaxcnn.memory import parallel_step
from jaxcnn.shards import partitioned
from jaxcnn.window import Convolution


def forward(x: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    if 0 in x.shape + w.shape + conv.window.output:
        return jnp.zeros((x.shape[0], *conv.window.output, w.shape[-1]), conv.accumulate)
    return _compute("forward", x, w, conv)


def input_gradient(dz: jax.Array, w: jax.Array, conv: Convolution) -> jax.Array:
    if 0 in dz.shape + w.shape + conv.window.input:
        return jnp.zeros((dz.shape[0], *conv.window.input, w.shape[-2] * conv.groups), conv.accumulate)
    return _compute("input_gradient", dz, w, conv)


def kernel_gradient(x: jax.Array, dz: jax.Array, conv: Convolution) -> jax.Array:
    if 0 in x.shape + dz.shape:
        return jnp.zeros((*conv.window.size, x.shape[-1] // conv.groups, dz.shape[-1]), conv.accumulate)
    return _compute("kernel_gradient", x, dz, conv)


@partial(jax.custom_jvp, nondiff_argnums=(0, 3))
def _compute(name: str, a: jax.Array, b: jax.Array, conv: Convolution) -> jax.Array:
    """One of the maps: on a CPU by the algorithm of the choice, elsewhere as one call; also of batches by vmap."""

    @custom_vmap
    def compute(a, b):
        chosen, other = getattr(choice, name)(a.shape, b.shape, conv), getattr(accelerator, name)
        of_cpu: Callable = partial(chosen, conv=conv)
        if chosen is not getattr(native, name):  # which the compiler itself knows to divide
            of_cpu = partitioned(of_cpu, _layout(name, conv.groups))
        return lax.platform_dependent(a, b, cpu=of_cpu, default=partial(other, conv=conv))

    @compute.def_vmap
    def compute_batch(size, batched, a, b):
        if not batched[1] and name != "kernel_gradient":
            result = _compute(name, a.reshape(-1, *a.shape[2:]), b, conv)
            return result.reshape(size, -1, *result.shape[1:]), True
        axes = [0 if is_batched else None for is_batched in batched]
        one_by_one = lambda a, b: _map(partial(_compute, name, conv=conv), axes, a, b)
        at_once = lambda algorithm: jax.vmap(partial(algorithm, conv=conv), axes)
        of_a, of_b = (array.shape[is_batched:] for array, is_batched in zip((a, b), batched))
        together = choice.of_batch(name, getattr(choice, name)(of_a, of_b, conv), size, of_a, of_b, conv)
        of_cpu = at_once(together) if together else one_by_one
        return lax.platform_dependent(a, b, cpu=of_cpu, default=at_once(getattr(accelerator, name))), True

    return compute(a, b)


def _layout(name, groups):
    """Which axes the devices divide: the batch, and the output channels of one group."""
    k = "k" if groups == 1 else ""
    layouts = {"forward": "n…, …K -> n…K", "input_gradient": "n…K, …K -> n…", "kernel_gradient": "n…, n…K -> …K"}
    return layouts[name].replace("K", k)


@partial(_compute.defjvp, symbolic_zeros=True)
def _compute_jvp(name, conv, primals, tangents):
    """For derivatives of the gradients: lax knows those of the native form."""
    (a, b), (da, db) = primals, tangents
    plain = partial(getattr(native, name), conv=conv)
    terms = [(da, b)] * (not _is_zero(da)) + [(a, db)] * (not _is_zero(db))
    return _compute(name, a, b, conv), sum(plain(*term) for term in terms)


def _is_zero(tangent):
    return isinstance(tangent, jax.custom_derivatives.SymbolicZero)


def _map(fn, axes, *arrays):
    """vmap as a loop: a batched kernel would become a grouped convolution.

    It cuts examples out of one long array. Batches of one, which vmap makes of examples, have a layout that XLA would
    copy for the loop: MobileNet's depthwise dw takes 4.1 ms and 16 MB per example, else 8.7 and 29.
    """
    size = next(array.shape[0] for array, axis in zip(arrays, axes) if axis == 0)

    def cut(array, axis):
        if axis is None:
            return lambda i: array
        long, n = array.reshape(-1, *array.shape[2:]), array.shape[1]
        return lambda i: lax.dynamic_slice_in_dim(long, i * n, n)

    cuts = [*map(cut, arrays, axes)]
    return lax.map(lambda i: fn(*(of(parallel_step(i)) for of in cuts)), jnp.arange(size))
