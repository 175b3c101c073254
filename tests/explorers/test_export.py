"""The row that exports what is shown: exact widths, and a word on what was left out or went wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from workbench.config import UsageError
from workbench.explorers import MixedSamples


@pytest.fixture
def explorer() -> Iterator[MixedSamples]:
    made = MixedSamples()
    yield made
    made.close()


def test_export_writes_a_pdf_of_the_venues_exact_width(explorer, tmp_path):
    explorer.export.file.value = str(tmp_path / "figures" / "mine.pdf")
    explorer.export.venue.value, explorer.export.columns.value = "neurips", 1
    explorer.export.button.click()
    found = re.search(rb"/MediaBox \[ ?0 0 ([0-9.]+)", (tmp_path / "figures" / "mine.pdf").read_bytes())

    assert found is not None and float(found[1]) == pytest.approx(5.5 * 72)
    assert "mine.pdf (5.5 in wide)" in explorer.message.value


def test_export_says_which_methods_the_figure_lacks_and_why(explorer, tmp_path):
    explorer.export.file.value = str(tmp_path / "mine")
    explorer.export.button.click()
    assert "left out" not in explorer.message.value
    explorer.add("automix")
    explorer.export.button.click()

    assert "in wide); left out AutoMix: AutoMix looks into a net" in explorer.message.value
    assert (tmp_path / "mine.pdf").exists() and explorer.failure is None


def test_venues_tell_the_width_of_so_many_columns(explorer):
    explorer.export.venue.value = "icml"
    assert ("icml (6.75 in)", "icml") in explorer.export.venue.options
    explorer.export.columns.value = 1

    assert ("icml (3.25 in)", "icml") in explorer.export.venue.options and explorer.export.venue.value == "icml"


@pytest.mark.parametrize("name", ["", "  ", "/dev/null/figure"])
def test_an_impossible_file_name_is_told(explorer, name):
    explorer.export.file.value = name
    explorer.export.button.click()

    assert isinstance(explorer.failure, UsageError)
    assert "file name" in explorer.message.value
