"""The autodiff twin: the same names and signatures in lax and jnp, with no rule of our own.

A model that takes the module as an argument, `apply(params, x, ops=jaxcnn)`, is compared with autodiff by
`ops=jaxcnn.reference`. It also is the answer for plain forward mode (`jax.jvp`, `jax.jacfwd`). Arguments mean what they
mean in the function of the same name; this is the code that one writes without the library.
"""

from jaxcnn.reference.activation import celu as celu
from jaxcnn.reference.activation import elu as elu
from jaxcnn.reference.activation import gelu as gelu
from jaxcnn.reference.activation import hard_sigmoid as hard_sigmoid
from jaxcnn.reference.activation import hard_swish as hard_swish
from jaxcnn.reference.activation import hard_tanh as hard_tanh
from jaxcnn.reference.activation import leaky_relu as leaky_relu
from jaxcnn.reference.activation import log_softmax as log_softmax
from jaxcnn.reference.activation import mish as mish
from jaxcnn.reference.activation import prelu as prelu
from jaxcnn.reference.activation import relu as relu
from jaxcnn.reference.activation import relu6 as relu6
from jaxcnn.reference.activation import selu as selu
from jaxcnn.reference.activation import sigmoid as sigmoid
from jaxcnn.reference.activation import silu as silu
from jaxcnn.reference.activation import softmax as softmax
from jaxcnn.reference.activation import softplus as softplus
from jaxcnn.reference.activation import tanh as tanh
from jaxcnn.reference.conv import conv as conv
from jaxcnn.reference.conv import conv_transpose as conv_transpose
from jaxcnn.reference.conv import depthwise_conv as depthwise_conv
from jaxcnn.reference.conv import separable_conv as separable_conv
from jaxcnn.reference.dense import dense as dense
from jaxcnn.reference.dropout import dropout as dropout
from jaxcnn.reference.loss import focal_loss as focal_loss
from jaxcnn.reference.loss import huber_loss as huber_loss
from jaxcnn.reference.loss import sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy
from jaxcnn.reference.loss import softmax_cross_entropy as softmax_cross_entropy
from jaxcnn.reference.loss import softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels
from jaxcnn.reference.loss import squared_error as squared_error
from jaxcnn.reference.norm import batch_norm as batch_norm
from jaxcnn.reference.norm import batch_norm_inference as batch_norm_inference
from jaxcnn.reference.norm import group_norm as group_norm
from jaxcnn.reference.norm import instance_norm as instance_norm
from jaxcnn.reference.norm import layer_norm as layer_norm
from jaxcnn.reference.norm import local_response_norm as local_response_norm
from jaxcnn.reference.norm import rms_norm as rms_norm
from jaxcnn.reference.norm import update_running_statistics as update_running_statistics
from jaxcnn.reference.norm import weight_standardize as weight_standardize
from jaxcnn.reference.patches import fold as fold
from jaxcnn.reference.patches import pad as pad
from jaxcnn.reference.patches import unfold as unfold
from jaxcnn.reference.pool import adaptive_avg_pool as adaptive_avg_pool
from jaxcnn.reference.pool import adaptive_max_pool as adaptive_max_pool
from jaxcnn.reference.pool import avg_pool as avg_pool
from jaxcnn.reference.pool import global_avg_pool as global_avg_pool
from jaxcnn.reference.pool import global_max_pool as global_max_pool
from jaxcnn.reference.pool import lp_pool as lp_pool
from jaxcnn.reference.pool import max_pool as max_pool
from jaxcnn.reference.pool import max_pool_with_indices as max_pool_with_indices
from jaxcnn.reference.pool import max_unpool as max_unpool
from jaxcnn.reference.pool import min_pool as min_pool
from jaxcnn.reference.pool import sum_pool as sum_pool
