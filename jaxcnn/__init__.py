"""The layers of a convolutional network as pure JAX functions, each with a backward pass derived and written by hand.

Notation

    n      batch                         h w    rows, columns (*spatial in general, 1 to 3 dimensions)
    c k    input, output channels        i j    position in the kernel
    p q    position in the output        s d    stride, dilation
    g      groups                        lo hi  padding before and behind

Channels come last by default: x (n, *spatial, c), kernel w (*window, c/g, k), bias b (k,). `channel_axis=1` takes
channels first: x (n, c, *spatial), the kernel as before. Without a batch dimension, or with several, it works too. A
cotangent is d + the primal's name: dz, dx, dw, db.

A rule (`jax.custom_vjp`) has no plain forward mode; `jaxcnn.reference` has the same names without rules, for `jax.jvp`
and for comparison.
"""

import importlib
from typing import TYPE_CHECKING

from jaxcnn import reference as reference
from jaxcnn.activation_exponential import celu as celu
from jaxcnn.activation_exponential import elu as elu
from jaxcnn.activation_exponential import selu as selu
from jaxcnn.activation_piecewise import hard_sigmoid as hard_sigmoid
from jaxcnn.activation_piecewise import hard_swish as hard_swish
from jaxcnn.activation_piecewise import hard_tanh as hard_tanh
from jaxcnn.activation_piecewise import leaky_relu as leaky_relu
from jaxcnn.activation_piecewise import prelu as prelu
from jaxcnn.activation_piecewise import relu as relu
from jaxcnn.activation_piecewise import relu6 as relu6
from jaxcnn.activation_smooth import gelu as gelu
from jaxcnn.activation_smooth import mish as mish
from jaxcnn.activation_smooth import sigmoid as sigmoid
from jaxcnn.activation_smooth import silu as silu
from jaxcnn.activation_smooth import softplus as softplus
from jaxcnn.activation_smooth import tanh as tanh
from jaxcnn.activation_softmax import log_softmax as log_softmax
from jaxcnn.activation_softmax import softmax as softmax
from jaxcnn.conv import conv as conv
from jaxcnn.conv import depthwise_conv as depthwise_conv
from jaxcnn.conv import separable_conv as separable_conv
from jaxcnn.conv_transpose import conv_transpose as conv_transpose
from jaxcnn.dense import dense as dense
from jaxcnn.dropout import dropout as dropout
from jaxcnn.loss_elementwise import focal_loss as focal_loss
from jaxcnn.loss_elementwise import huber_loss as huber_loss
from jaxcnn.loss_elementwise import sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy
from jaxcnn.loss_elementwise import squared_error as squared_error
from jaxcnn.loss_softmax import softmax_cross_entropy as softmax_cross_entropy
from jaxcnn.loss_softmax import softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels
from jaxcnn.norm_batch import batch_norm as batch_norm
from jaxcnn.norm_batch import batch_norm_inference as batch_norm_inference
from jaxcnn.norm_batch import update_running_statistics as update_running_statistics
from jaxcnn.norm_layer import group_norm as group_norm
from jaxcnn.norm_layer import instance_norm as instance_norm
from jaxcnn.norm_layer import layer_norm as layer_norm
from jaxcnn.norm_layer import rms_norm as rms_norm
from jaxcnn.norm_layer import weight_standardize as weight_standardize
from jaxcnn.norm_response import local_response_norm as local_response_norm
from jaxcnn.pad import pad as pad
from jaxcnn.patches import fold as fold
from jaxcnn.patches import unfold as unfold
from jaxcnn.pool_adaptive import adaptive_avg_pool as adaptive_avg_pool
from jaxcnn.pool_adaptive import adaptive_max_pool as adaptive_max_pool
from jaxcnn.pool_adaptive import global_avg_pool as global_avg_pool
from jaxcnn.pool_adaptive import global_max_pool as global_max_pool
from jaxcnn.pool_max import max_pool as max_pool
from jaxcnn.pool_max import max_pool_with_indices as max_pool_with_indices
from jaxcnn.pool_max import min_pool as min_pool
from jaxcnn.pool_sum import avg_pool as avg_pool
from jaxcnn.pool_sum import lp_pool as lp_pool
from jaxcnn.pool_sum import sum_pool as sum_pool
from jaxcnn.unpool import max_unpool as max_unpool

__version__ = "0.1.0"

if TYPE_CHECKING:
    from jaxcnn import check as check
    from jaxcnn import lax as lax
    from jaxcnn import notebook as notebook
else:

    def __getattr__(name: str) -> object:
        """The modules that training need not wait for, when they are asked for."""
        if name not in ("check", "lax", "notebook"):
            raise AttributeError(f"module 'jaxcnn' has no attribute {name!r}")
        return importlib.import_module(f"jaxcnn.{name}")
