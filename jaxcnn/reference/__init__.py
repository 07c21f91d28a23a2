"""The autodiff twin: the same names and signatures in lax and jnp, with no rule of our own.

A model that takes the module as an argument, `apply(params, x, ops=jaxcnn)`, is compared with autodiff by
`ops=jaxcnn.reference`. It also is the answer for plain forward mode (`jax.jvp`, `jax.jacfwd`). Arguments mean what they
mean in the function of the same name; this is the code that one writes without the library.
"""

from jaxcnn.reference.activation import relu as relu
from jaxcnn.reference.conv import conv as conv
from jaxcnn.reference.conv import conv_transpose as conv_transpose
from jaxcnn.reference.conv import depthwise_conv as depthwise_conv
from jaxcnn.reference.conv import separable_conv as separable_conv
from jaxcnn.reference.dense import dense as dense
from jaxcnn.reference.loss import softmax_cross_entropy as softmax_cross_entropy
from jaxcnn.reference.loss import softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels
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
