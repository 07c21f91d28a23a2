"""Compares a hand-written backward rule with autodiff and with finite differences.

`check_vjp` works on any function, in particular on one with a `jax.custom_vjp` of your own, and returns a report;
`assert_vjp` and `vjp_cases` are the same for tests. `python -m jaxcnn.check` runs it over this library's ops.
"""

from jaxcnn.check.compare import check_vjp as check_vjp
from jaxcnn.check.primal import without_rules as without_rules
from jaxcnn.check.report import Report as Report
from jaxcnn.check.testing import assert_vjp as assert_vjp
from jaxcnn.check.testing import vjp_cases as vjp_cases
