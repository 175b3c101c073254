"""What a page sends for files, as the kernel hears it; the page itself is tested in a browser."""

from __future__ import annotations

from typing import Any

import pytest

from workbench.explorers.drop import MOST, Drop

Batch = tuple[dict[str, bytes], list[str]]


@pytest.fixture
def batches() -> list[Batch]:
    return []


@pytest.fixture
def place(batches: list[Batch]) -> Drop:
    return Drop("here", lambda files, faults: batches.append((files, faults)))


def say(place: Drop, kind: str, *buffers: bytes, batch: str = "1", **about: Any) -> None:
    place._handle_custom_msg({"kind": kind, "batch": batch, **about}, [memoryview(b) for b in buffers])


def test_pieces_become_files_again(place: Drop, batches: list[Batch]) -> None:
    say(place, "begin")
    say(place, "piece", b"ab", first=True, name="one", size=3)
    say(place, "piece", b"c", first=False, name="one", size=3)
    say(place, "piece", b"", first=True, name="empty", size=0)
    assert not batches, "not before all have come"
    say(place, "end")
    assert batches == [({"one": b"abc", "empty": b""}, [])]


def test_two_files_of_one_name_are_both_kept(place: Drop, batches: list[Batch]) -> None:
    say(place, "begin")
    for content in (b"a", b"b", b"c"):
        say(place, "piece", content, first=True, name="x.png", size=2)
        say(place, "piece", content, first=False, name="x.png", size=2)
    say(place, "end")
    assert batches[0][0] == {"x.png": b"aa", "x.png (2)": b"bb", "x.png (3)": b"cc"}


def test_what_is_not_sent_is_told(place: Drop, batches: list[Batch]) -> None:
    say(place, "begin")
    say(place, "large", name="film.tif", size=200 * 2**20)
    say(place, "unreadable", name="folder", size=0)
    say(place, "end")
    files, faults = batches[0]
    assert files == {}
    assert faults == [
        f"film.tif with its 200.0 MB is too much; at most {MOST >> 20} MB are taken at a time, scale it down",
        "folder can't be read; expected a file, not a folder",
    ]


def test_a_batch_that_was_broken_off_leaves_nothing_in_the_next(place: Drop, batches: list[Batch]) -> None:
    say(place, "begin")
    say(place, "piece", b"half", first=True, name="one", size=9)
    say(place, "begin")
    say(place, "piece", b"other", first=True, name="two", size=5)
    say(place, "end")
    say(place, "begin")
    say(place, "end")
    assert batches == [({"two": b"other"}, []), ({}, [])]


def test_two_pages_that_send_at_once_do_not_mix(place: Drop, batches: list[Batch]) -> None:
    for page in "ab":
        say(place, "begin", batch=page)
    for first in (True, False):
        for page in "ab":
            say(place, "piece", page.encode(), batch=page, first=first, name=f"{page}.png", size=2)
    for page in "ab":
        say(place, "end", batch=page)
    assert batches == [({"a.png": b"aa"}, []), ({"b.png": b"bb"}, [])]


def test_a_file_of_which_a_piece_is_missing_is_told(place: Drop, batches: list[Batch]) -> None:
    say(place, "begin")
    say(place, "piece", b"ab", first=True, name="one", size=5)
    say(place, "piece", first=False, name="one", size=5)
    say(place, "end")
    assert batches == [({}, ["one came in part, 2 of 5 bytes; drop it again"])]


@pytest.mark.parametrize("kind", ["piece", "large", "unreadable", "end", "else", None])
def test_what_belongs_to_no_batch_is_left_alone(place: Drop, batches: list[Batch], kind: str) -> None:
    say(place, kind, batch="nobody's")
    say(place, "begin")
    say(place, "piece", b"more")
    say(place, "end")
    assert batches == [({}, [])]
