"""One artefact with a symbolic batch for cpu, cuda, rocm and tpu; on cpu it gives what the function gives."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from cases.activation import POINTWISE
from compare import assert_close

import jaxcnn

W, GROUPED, DEPTH, POINT, V = (
    jnp.asarray(np.random.default_rng(0).normal(size=s), jnp.float32)
    for s in ((3, 3, 4, 6), (3, 3, 2, 6), (3, 3, 1, 8), (8, 3), (4, 5))
)
FUNCTIONS = {
    "conv": lambda x: jaxcnn.conv(x, W, W[0, 0, 0], strides=2),
    "conv, groups": lambda x: jaxcnn.conv(x, GROUPED, groups=2, dilation=2),
    "conv, weights": lambda x: jax.grad(lambda w: jnp.sum(jaxcnn.conv(x, w) ** 2))(W),
    "conv, grouped weights": lambda x: jax.grad(lambda w: jnp.sum(jaxcnn.conv(x, w, groups=2) ** 2))(GROUPED),
    "conv, channels first": lambda x: jaxcnn.conv(jnp.moveaxis(x, -1, 1), W, channel_axis=1),
    "conv, two batch dimensions": lambda x: jaxcnn.conv(x[:, None], W),
    "conv_transpose": lambda x: jaxcnn.conv_transpose(x, W, W[0, 0, 0], strides=2),
    "conv_transpose, groups": lambda x: jaxcnn.conv_transpose(x, GROUPED, groups=2, dilation=2, padding="VALID"),
    "conv_transpose, weights": lambda x: jax.grad(lambda w: jnp.sum(jaxcnn.conv_transpose(x, w) ** 2))(W),
    "depthwise_conv": lambda x: jaxcnn.depthwise_conv(x, DEPTH, strides=2),
    "depthwise_conv, weights": lambda x: jax.grad(lambda w: jnp.sum(jaxcnn.depthwise_conv(x, w) ** 2))(DEPTH),
    "separable_conv": lambda x: jaxcnn.separable_conv(x, DEPTH, POINT, POINT[0]),
    "separable_conv, weights": lambda x: jax.grad(lambda w: jnp.sum(jaxcnn.separable_conv(x, w, POINT) ** 2))(DEPTH),
    "max_pool": lambda x: jaxcnn.max_pool(x, 3, strides=2, padding="SAME"),
    "max_pool, even": lambda x: jaxcnn.max_pool(x, 2, ties="even"),
    "max_pool, large": lambda x: jaxcnn.max_pool(x, (7, 10), strides=1, padding="SAME"),
    "avg_pool": lambda x: jaxcnn.avg_pool(x, (5, 6), strides=1),
    "min_pool": lambda x: jaxcnn.min_pool(x, 3, strides=2),
    "max_pool_with_indices": lambda x: jaxcnn.max_pool_with_indices(x, 2)[0],
    "max_unpool": lambda x: jaxcnn.max_unpool(x, jnp.zeros(x.shape, jnp.int32) + 3, output_shape=4),
    "sum_pool": lambda x: jaxcnn.sum_pool(x, 2, dilation=2),
    "lp_pool": lambda x: jaxcnn.lp_pool(x, 3, p=3),
    "adaptive_avg_pool": lambda x: jaxcnn.adaptive_avg_pool(x, (3, 2)),
    "adaptive_max_pool": lambda x: jaxcnn.adaptive_max_pool(x, (3, 2)),
    "global_avg_pool": jaxcnn.global_avg_pool,
    "global_max_pool": jaxcnn.global_max_pool,
    "pad": lambda x: jaxcnn.pad(x, 2, mode="reflect"),
    "unfold": lambda x: jaxcnn.unfold(x, 3, strides=2),
    "fold": lambda x: jaxcnn.fold(x, 2, output_shape=(8, 11)),
    "dense": lambda x: jaxcnn.dense(x, V, V[0]),
    "relu": jaxcnn.relu,
    "batch_norm": lambda x: jaxcnn.batch_norm(x, V[0, :4], V[1, :4], where=x[:, :, :1] > 0),
    "batch_norm, channels first": lambda x: jaxcnn.batch_norm(x, None, jnp.ones(7), channel_axis=1),
    "batch_norm_inference": lambda x: jaxcnn.batch_norm_inference(x, x[0, 0, 0], x[0, 0, 0] ** 2, V[:, 0], V[:, 1]),
    "update_running_statistics": lambda x: jaxcnn.update_running_statistics(
        V[:, 0], V[:, 1], x.mean((0, 1, 2)), x.var((0, 1, 2)), momentum=0.9, unbiased=True, count=x.size
    ),
    "layer_norm": lambda x: jaxcnn.layer_norm(x, V[:, 0], V[:, 1]),
    "rms_norm": lambda x: jaxcnn.rms_norm(x, V[:, 0]),
    "group_norm": lambda x: jaxcnn.group_norm(x, V[:, 0], V[:, 1], groups=2),
    "instance_norm": lambda x: jaxcnn.instance_norm(x, V[:, 0], V[:, 1]),
    "weight_standardize": lambda x: jaxcnn.weight_standardize(x),
    "local_response_norm": lambda x: jaxcnn.local_response_norm(x, 3),
    "activations": lambda x: tuple(getattr(jaxcnn, op)(x, **options) for op, options in POINTWISE.items()),
    "prelu": lambda x: jaxcnn.prelu(x, V[:, 0]),
    "prelu, slope": lambda x: jax.grad(lambda slope: jnp.sum(jaxcnn.prelu(x, slope) ** 2))(V[:, 0]),
    "softmax": lambda x: jaxcnn.softmax(x, axis=(1, 2), where=x < 1),
    "log_softmax": lambda x: jaxcnn.log_softmax(x, axis=None),
    "dropout": lambda x: jaxcnn.dropout(x, 0.5, jax.random.key(0), broadcast_dims=(1,)),
    "cross-entropy": lambda x: jaxcnn.softmax_cross_entropy(x, x**2),
    "cross-entropy, labels": lambda x: jaxcnn.softmax_cross_entropy_with_integer_labels(x, jnp.argmax(x, -1)),
    "cross-entropy, smoothed": lambda x: jaxcnn.softmax_cross_entropy_with_integer_labels(
        x, jnp.argmax(x, -1), label_smoothing=0.1, where=x[..., 0] > 0
    ),
    "sigmoid_binary_cross_entropy": lambda x: jaxcnn.sigmoid_binary_cross_entropy(x, x**2),
    "focal_loss": lambda x: jaxcnn.focal_loss(x, x > 0, alpha=0.25),
    "squared_error": lambda x: jaxcnn.squared_error(x, x**2),
    "huber_loss": lambda x: jaxcnn.huber_loss(x, x**2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_artefact_for_all_platforms(name):
    fn = FUNCTIONS[name]

    @jax.jit
    def forward_and_backward(x):
        value, vjp = jax.vjp(fn, x)
        return value, vjp(value)[0]

    (batch,) = jax.export.symbolic_shape("batch")
    shape = jax.ShapeDtypeStruct((batch, 7, 10, 4), jnp.float32)
    platforms = ("cpu", "cuda", "rocm", "tpu")
    artefact = jax.export.export(forward_and_backward, platforms=platforms)(shape)
    restored = jax.export.deserialize(artefact.serialize())
    assert restored.platforms == platforms
    for n in (1, 3):
        x = jnp.asarray(np.random.default_rng(n).normal(size=(n, 7, 10, 4)), jnp.float32)
        assert_close(restored.call(x), forward_and_backward(x), 1e-5)
