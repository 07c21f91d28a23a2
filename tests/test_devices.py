"""On eight devices what one device computes, however the arrays lie; and training moves sums of gradients alone."""

import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.activation import POINTWISE
from compare import assert_close, cotangent_of
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxcnn
from jaxcnn import algorithms, switches, window_sums

N, C = 16, 4
IMAGE, ROW, CHANNEL = (N, 6, 6, C), (N, 7), (C,)
EVERY, BATCH = P(), P("devices")
MASK = np.random.default_rng(0).random((1, 6, 1, C)) < 0.7

# Calls: a function, the shapes of what is divided by example, and of what every device has.
CALLS = {
    "convolutions": [
        (partial(jaxcnn.conv, strides=2), [IMAGE], [(3, 3, C, 6), (6,)]),
        (partial(jaxcnn.conv, groups=2, channel_axis=1), [(N, C, 6, 5)], [(3, 3, 2, 6), (6,)]),
        (jaxcnn.conv, [(N, 6, 6, 64)], [(3, 3, 64, 32)]),
        (jaxcnn.conv, [(N, 5, 6, 12)], [(3, 3, 12, 5)]),
        (jaxcnn.conv, [(N, 2, 9, 3)], [(3, 3, 5)]),
        (partial(jaxcnn.conv_transpose, strides=2), [IMAGE], [(3, 3, C, 3), (3,)]),
        (partial(jaxcnn.depthwise_conv, strides=2), [IMAGE], [(3, 3, 1, 2 * C)]),
        (jaxcnn.separable_conv, [IMAGE], [(3, 3, 1, C), (C, 3)]),
        (jaxcnn.dense, [ROW], [(7, 3), (3,)]),
    ],
    "pools": [
        (partial(jaxcnn.max_pool, window=3, strides=2, padding=1), [IMAGE], []),
        (partial(jaxcnn.max_pool, window=2, ties="even"), [IMAGE], []),
        (partial(jaxcnn.min_pool, window=2), [IMAGE], []),
        (partial(jaxcnn.avg_pool, window=3, strides=1, padding="SAME"), [IMAGE], []),
        (partial(jaxcnn.sum_pool, window=2, dilation=2), [IMAGE], []),
        (partial(jaxcnn.lp_pool, window=3, strides=1), [IMAGE], []),
        (partial(jaxcnn.adaptive_avg_pool, output_shape=(4, 2)), [IMAGE], []),
        (partial(jaxcnn.adaptive_max_pool, output_shape=(4, 2)), [IMAGE], []),
        (jaxcnn.global_avg_pool, [IMAGE], []),
        (jaxcnn.global_max_pool, [IMAGE], []),
        (lambda x: jaxcnn.max_unpool(*jaxcnn.max_pool_with_indices(x, 2), output_shape=(6, 6)), [IMAGE], []),
        (partial(jaxcnn.pad, padding=((0, 0), (1, 2), (2, 1), (0, 0)), mode="reflect"), [IMAGE], []),
        (partial(jaxcnn.unfold, window=3, strides=2), [IMAGE], []),
        (partial(jaxcnn.fold, window=2, output_shape=(7, 7)), [(N, 6, 6, 12)], []),
    ],
    "normalisations": [
        (jaxcnn.batch_norm, [IMAGE], [CHANNEL, CHANNEL]),
        (
            lambda x, mean, var, scale: jaxcnn.batch_norm_inference(x, mean, var**2, scale, None),
            [IMAGE],
            [CHANNEL] * 3,
        ),
        (partial(jaxcnn.layer_norm, axis=(1, 2, 3), where=MASK), [IMAGE], [IMAGE[1:], IMAGE[1:]]),
        (jaxcnn.rms_norm, [IMAGE], [CHANNEL]),
        (partial(jaxcnn.group_norm, groups=2), [IMAGE], [CHANNEL, CHANNEL]),
        (jaxcnn.instance_norm, [IMAGE], [CHANNEL, CHANNEL]),
        (lambda x, w: jaxcnn.dense(x, jaxcnn.weight_standardize(w)), [ROW], [(7, 3)]),
        (partial(jaxcnn.local_response_norm, size=3), [IMAGE], []),
        (partial(jaxcnn.update_running_statistics, momentum=0.9), [], [CHANNEL] * 4),
    ],
    "activations": [
        *((partial(getattr(jaxcnn, op), **options), [ROW], []) for op, options in POINTWISE.items()),
        (jaxcnn.prelu, [IMAGE], [CHANNEL]),
        (partial(jaxcnn.softmax, axis=(1, 3), where=MASK), [IMAGE], []),
        (jaxcnn.log_softmax, [ROW], []),
    ],
    "losses": [
        (jaxcnn.softmax_cross_entropy, [ROW, ROW], []),
        (lambda x: jaxcnn.softmax_cross_entropy_with_integer_labels(x, jnp.argmax(x, -1)), [ROW], []),
        (jaxcnn.sigmoid_binary_cross_entropy, [ROW, ROW], []),
        (lambda x: jaxcnn.focal_loss(x, x > 0), [ROW], []),
        (lambda x, mean: jaxcnn.squared_error(x, jnp.broadcast_to(mean, x.shape)), [ROW], [(1, 7)]),
        (jaxcnn.huber_loss, [ROW, ROW], []),
    ],
}
KINDS = {"automatic": AxisType.Auto, "explicit": AxisType.Explicit, "shard_map": AxisType.Auto}


def draw(shapes, seed=0):
    generator = np.random.default_rng(seed)
    return [jnp.asarray(generator.normal(size=shape), jnp.float32) for shape in shapes]


def place(tree):
    """Along the devices what has an axis of examples, and on each of them what has none."""
    return jax.tree.map(lambda a: BATCH if a.shape[:1] == (N,) else EVERY, tree)


def gradients(calls):
    """(cotangents, arrays) of all calls -> their values and gradients."""

    def run(cotangents, arrays):
        results = []
        for (fn, *_), cotangent, of_call in zip(calls, cotangents, arrays):
            value, vjp = jax.vjp(fn, *of_call)
            results.append((value, vjp(cotangent)))
        return results

    return run


def on_devices(run, mode, arguments, result):
    """The compiled program on eight devices, and its arguments where they lie."""
    mesh = jax.make_mesh((8,), ("devices",), axis_types=(KINDS[mode],))
    put = lambda specs: jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)
    placed = jax.device_put(arguments, put(place(arguments)))
    if mode == "shard_map":
        program = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=place(arguments), out_specs=place(result)))
    else:
        program = jax.jit(run, out_shardings=put(place(result)))
    with jax.set_mesh(mesh):
        return program.lower(*placed).compile(), placed


@cache
def on_one_device(family):
    """Cotangents and arrays, and what they give."""
    calls = CALLS[family]
    arrays = [draw([*divided, *shared]) for _, divided, shared in calls]
    cotangents = [cotangent_of(fn, of_call) for (fn, *_), of_call in zip(calls, arrays)]
    return (cotangents, arrays), jax.jit(gradients(calls))(cotangents, arrays)


@pytest.mark.parametrize("family", CALLS)
@pytest.mark.parametrize("mode", KINDS)
def test_eight_devices_give_what_one_gives(mode, family):
    calls, (arguments, expected) = CALLS[family], on_one_device(family)
    if mode == "shard_map":
        calls = [
            (partial(fn, axis_name="devices") if fn is jaxcnn.batch_norm else fn, *shapes) for fn, *shapes in calls
        ]
    program, placed = on_devices(gradients(calls), mode, arguments, expected)
    assert_close(program(*placed), expected, 1e-5)


@pytest.mark.parametrize("mode", ["automatic", "explicit"])
def test_divided_output_channels(mode):
    """Tensor parallelism: four devices share the examples, two the kernels."""
    mesh = jax.make_mesh((4, 2), ("examples", "channels"), axis_types=(KINDS[mode],) * 2)
    calls = [
        (partial(jaxcnn.conv, strides=2), (N, 7, 7, C), (3, 3, C, 6)),
        (jaxcnn.conv, (N, 6, 6, 32), (3, 3, 32, 32)),
        (jaxcnn.conv, (N, 9, 9, 1), (3, 3, 1, 8)),
        (jaxcnn.conv_transpose, IMAGE, (3, 3, C, 6)),
        (partial(jaxcnn.conv, groups=2), IMAGE, (3, 3, 2, 6)),
        (jaxcnn.depthwise_conv, IMAGE, (3, 3, 1, 2 * C)),
        (jaxcnn.dense, ROW, (7, 6)),
    ]

    @jax.jit
    def run(arrays):
        loss = lambda arrays: sum(jnp.sum(jnp.sin(fn(*of_call))) for (fn, *_), of_call in zip(calls, arrays))
        return jax.value_and_grad(loss)(arrays)

    arrays = [draw([x, w, w[-1:]]) for _, x, w in calls]
    specs = [(P("examples"), P(*[None] * (len(w) - 1), "channels"), P("channels")) for _, _, w in calls]
    with jax.set_mesh(mesh):
        placed = [jax.device_put(a, [NamedSharding(mesh, spec) for spec in s]) for a, s in zip(arrays, specs)]
        got = run(placed)
    assert_close(got, run(arrays), 1e-5)


@pytest.mark.parametrize("mode", KINDS)
def test_training_moves_sums_alone(mode, monkeypatch):
    """No collective but all-reduce, also where the rules work through the batch in chunks."""
    for algorithm in ("columns", "lanes", "matmul", "native", "shifts", "tapwise", "winograd"):
        monkeypatch.setattr(getattr(algorithms, algorithm), "CHUNK", 1)
    monkeypatch.setattr(algorithms.winograd, "KERNEL_CHUNK", 1)
    monkeypatch.setattr(switches, "PADDED", 1)
    monkeypatch.setattr(switches, "SPREAD", 1)
    monkeypatch.setattr(window_sums, "CHUNK", 1)
    axis_name = "devices" if mode == "shard_map" else None

    def loss(weights, x, labels):
        x = jaxcnn.relu(jaxcnn.conv(x, weights["stem"]))
        x, *_ = jaxcnn.batch_norm(jaxcnn.conv(x, weights["wide"]), None, None, axis_name=axis_name)
        x = jaxcnn.avg_pool(jaxcnn.max_pool(x, 3, strides=2, padding=1), 4, strides=1, padding="SAME")
        x = jaxcnn.conv(jaxcnn.depthwise_conv(x, weights["depth"]), weights["point"])
        x = jaxcnn.group_norm(jaxcnn.conv(x, weights["grouped"], groups=4), None, None, groups=4)
        logits = jaxcnn.dense(jaxcnn.global_avg_pool(x), weights["head"])
        return jaxcnn.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def step(weights, x, labels):
        value, gradient = jax.value_and_grad(loss)(weights, x, labels)
        if axis_name is not None:  # the gradient comes summed over the devices, each of the mean of its own examples
            value, gradient = jax.lax.pmean(value, axis_name), jax.tree.map(lambda g: g / 8, gradient)
        return value, gradient

    shapes = {
        "stem": (3, 3, 1, 64),
        "wide": (3, 3, 64, 32),
        "depth": (3, 3, 1, 32),
        "point": (1, 1, 32, 32),
        "grouped": (3, 3, 8, 32),
    }
    weights = dict(zip(shapes, draw(shapes.values(), seed=1))) | {"head": draw([(32, 7)])[0]}
    arguments = weights, draw([(N, 10, 10, 1)])[0], jnp.arange(N) % 7
    expected = jax.jit(step)(*arguments) if axis_name is None else None
    program, placed = on_devices(step, mode, arguments, expected or (jnp.zeros(()), weights))
    collectives = re.findall(r"\b(all-\w+|reduce-scatter|collective-\w+)(?:-start)?\(", program.as_text())
    assert set(collectives) == {"all-reduce"}
    if expected is not None:
        assert_close(program(*placed), expected, 1e-4)
