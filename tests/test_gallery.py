"""The gallery: every method on the same photographs, nets trained once and used again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from workbench.config import UsageError
from workbench.figures import save
from workbench.figures.gallery import gallery
from workbench.gallery import LARGE, PHOTOGRAPHS, _config, mixes
from workbench.methods import METHODS
from workbench.runs import runs


def test_methods_without_a_net_share_photographs_and_lambda(tmp_path: Path) -> None:
    keys = ("vanilla", "mixup", "cutmix", "fmix", "manifoldmix")
    entries = mixes(tmp_path, 0.7, keys)
    assert tuple(entries) == tuple(key for key in METHODS if key in keys)
    first = entries["vanilla"]
    assert first["sources"].shape == (len(PHOTOGRAPHS), 3, LARGE, LARGE)
    for key, arrays in entries.items():
        assert np.array_equal(arrays["sources"], first["sources"])
        np.testing.assert_allclose(arrays["weight"].sum(1), 1, atol=1e-6)
        assert np.array_equal(arrays["mixed"], first["sources"]) == (key == "vanilla")
    np.testing.assert_allclose(entries["mixup"]["weight"][:, :2], [[0.7, 0.3]] * 4, atol=1e-6)
    assert not (tmp_path / "runs").exists()  # nothing had to be trained


def test_every_method_that_looks_into_a_net_has_one() -> None:
    for key, cls in METHODS.items():
        config = _config(key)
        assert (config is None) == (not cls.needs_net or cls.family == "feature"), key
        if cls.family == "learned":
            assert config is not None and config.method == key


@pytest.mark.slow
def test_trained_once_and_shown_again(tmp_path: Path) -> None:
    keys = ("cutmix", "puzzlemix", "comixup", "automix", "smmix")
    files = save(gallery(mixes(tmp_path, 0.5, keys, epochs=1), 0.5), tmp_path / "gallery")
    assert {file.name for file in files} == {"gallery.pdf", "gallery.png"}
    assert all(file.stat().st_size > 10_000 for file in files)
    trained = runs(tmp_path / "runs")
    assert sorted(run.config.method for run in trained) == ["automix", "vanilla", "vanilla"]  # a ResNet and a ViT
    before = {run.path: (run.path / "result.json").stat().st_mtime_ns for run in trained}
    entries = mixes(tmp_path, 0.5, keys, epochs=1)
    assert before == {run.path: (run.path / "result.json").stat().st_mtime_ns for run in runs(tmp_path / "runs")}
    assert (entries["comixup"]["weight"][:, 2] > 0).any(), "four photographs in a group"
    assert "1 epochs only" in str(entries["automix"]["note"])
    mine = mixes(tmp_path / "other", 0.5, ("automix",), [run.path for run in trained], epochs=1)
    assert "epochs only" not in str(mine["automix"]["note"])  # a run that was given is shown as it is


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"runs": (Path("nowhere"),)}, "no finished run in nowhere"),
        ({"lam": 1.5}, "lam is the weight of photograph A"),
        ({"only": ("mixdown",)}, "mixdown"),
    ],
)
def test_mistakes(settings: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        mixes(tmp_path, **settings)
    assert not list(tmp_path.iterdir())
