"""The tables of cases, a file per family: small, prime and awkward on purpose, and bad input with its complaint.

One body of checks (`compare.py`) runs over them.
"""

from cases import activation, conv, dense, dropout, loss, norm, patches, pool
from cases.case import CONVOLUTIONS as CONVOLUTIONS
from cases.case import RULES as RULES
from cases.case import Case as Case

FAMILIES = (conv, pool, patches, dense, activation, norm, dropout, loss)
CASES = [case for family in FAMILIES for case in family.CASES]
ERRORS = [error for family in FAMILIES for error in family.ERRORS]

# A plain row or two of each op, for what does not depend on the geometry.
SIMPLE = [case for family in FAMILIES for case in family.SIMPLE]
