"""Options of analyses: natural spellings are taken, and an error line says what is allowed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from workbench.analysis import ANALYSES
from workbench.analysis.options import complete
from workbench.config import UsageError


def option(name: str, **given: Any) -> Any:
    (key,) = given
    return complete(ANALYSES[name].compute, name, given)[key]


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("fidelity", {"alphas": "0.2,1.0"}, [0.2, 1.0]),
        ("fidelity", {"alphas": 1}, [1]),
        ("robustness", {"kinds": "fog, snow"}, ["fog", "snow"]),
        ("robustness", {"severities": "1,5"}, [1, 5]),
        ("robustness", {"severities": (1, 5)}, (1, 5)),
        ("adversarial", {"eps": np.array([0.01])}, [0.01]),
        ("adversarial", {"eps": [np.float32(0.5)]}, [0.5]),
        ("adversarial", {"eps": torch.tensor([0.5])}, [0.5]),
        ("landscape", {"points": np.int64(3)}, 3),
        ("robustness", {"images": None}, None),
    ],
)
def test_natural_spellings_are_taken(name: str, given: dict[str, Any], expected: Any) -> None:
    found = option(name, **given)
    assert found == expected and type(found) is type(expected)
    items = found if isinstance(found, list) else [found]
    assert not any(isinstance(item, np.generic) for item in items), "what is kept in a file is plain"


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("cost", {"precision": "fp8"}, "one of 'fp32', 'bf16', 'fp16', got 'fp8'; did you mean 'fp32'?"),
        ("occlusion", {"fill": "foo"}, "occlusion: fill must be one of 'mean', 'black', 'noise', got 'foo'"),
        ("fidelity", {"alphas": "0.2,much"}, "alphas must be a list of numbers, such as [0.2,1.0], got '0.2,much'"),
        ("robustness", {"severities": 1.5}, "a list of whole numbers, such as [1,3,5], got 1.5"),
        ("robustness", {"kinds": 3}, "a list of texts, such as [fog,snow], got 3"),
        ("adversarial", {"step_size": "big"}, "step_size must be a number or none, got 'big'"),
        ("compare", {"draws": 3}, "compare has no options, got 'draws'; leave it out"),
    ],
)
def test_an_error_says_what_is_allowed(name: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as error:
        option(name, **given)
    assert message in str(error.value) and "known: )" not in str(error.value)
