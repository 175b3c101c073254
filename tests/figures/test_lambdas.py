"""The distribution of lambda: what is drawn is what methods realise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from workbench.config import UsageError
from workbench.figures.lambdas import lambdas, realised
from workbench.methods import METHODS, build


def test_realised_weights_are_those_of_the_method() -> None:
    assert stats.kstest(realised(build("mixup", alpha=0.5)), stats.beta(0.5, 0.5).cdf).pvalue > 1e-4
    assert 1 - realised(build("cutmix"), 4000).mean() == pytest.approx(0.31, abs=0.02)  # 77/240 in the continuous limit


def test_a_line_a_method(capsys: pytest.CaptureFixture[str]) -> None:
    figure = lambdas(("mixup", "fmix"), 50)
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["Mixup", "FMix"]
    assert all((np.diff(np.asarray(line.get_xdata())) >= 0).all() for line in lines)
    assert len(lambdas((), 20).axes[0].get_lines()) == sum(
        not cls.needs_net and cls.family not in ("baseline", "loss") for cls in METHODS.values()
    )


def test_methods_that_need_a_net_are_refused() -> None:
    with pytest.raises(UsageError, match="automix: lambda alone can be drawn without a net of mixup"):
        lambdas(("automix",))
