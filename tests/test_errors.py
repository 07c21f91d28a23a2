"""Bad input: the right exception, and a message that names function, argument, expected and got."""

import jax
import pytest
from cases import ERRORS


@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case[2][:60])
@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_message(case, jit, unchecked_types):
    call, kind, start = case
    with pytest.raises(kind) as caught:
        jax.jit(call)() if jit else call()
    message = str(caught.value)
    assert type(caught.value) is kind
    assert message.startswith(start), message
    assert " expects " in message
    assert ", got " in message
