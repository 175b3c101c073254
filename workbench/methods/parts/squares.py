"""Squares of patches: where attention is highest or lowest, and how they get from there to elsewhere.

B rows, h w tokens of the grid, C H W image. A corner is (2,) int64: the row and column of a square's first token.
"""

from __future__ import annotations

import torch
from torch import Tensor


def corners_of(attention: Tensor, side: Tensor, stay: Tensor) -> Tensor:
    """(B, 2, 2) corners: of the row's own square with the least attention, and of its partner's with the most.

    attention: (B, 2, h, w) of the row and its partner; side: (B,), 0 for no square. The second corner is the first one
    where there is no square, and where `stay` (B,) says so.
    """
    to, origin = squares_at(attention[:, 0], side, highest=False), squares_at(attention[:, 1], side, highest=True)
    return torch.stack([to, torch.where((stay | (side == 0))[:, None], to, origin)], 1)


def squares_at(attention: Tensor, side: Tensor, highest: bool) -> Tensor:
    """(B, 2) int64 row and column of the first token of the square of `side` (B,) with the highest, or lowest, sum of
    attention (B, h, w). Of equal ones the first."""
    covered, fits = zip(*(_spans(side, length) for length in attention.shape[1:]), strict=True)
    sums = (covered[0][..., None] * attention[:, None]).sum(2)  # (B, h, w): the top row summed over the square's rows
    sums = (sums[:, :, None] * covered[1][:, None]).sum(3)
    score = torch.where(fits[0][:, :, None] & fits[1][:, None], sums if highest else -sums, -torch.inf)
    place = score.flatten(1).argmax(1)
    return torch.stack([place // sums.shape[2], place % sums.shape[2]], 1)


def _spans(side: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """(B, length, length) whether a span of `side` (B,) that begins at i covers j, and (B, length) whether it fits."""
    at = torch.arange(length, device=side.device)
    reach = side[:, None, None]
    return (at >= at[:, None]) & (at < at[:, None] + reach), at <= length - side[:, None]


def inside_squares(corner: Tensor, side: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, h, w) bool: the tokens of the squares whose first token is at `corner` (B, 2)."""
    rows, columns = (
        (at >= corner[:, i : i + 1]) & (at < (corner[:, i] + side)[:, None])
        for i, at in enumerate(torch.arange(length, device=side.device) for length in grid)
    )
    return rows[:, :, None] & columns[:, None]


def moved(x: Tensor, partner: Tensor, corners: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, C, H, W) each row's partner, shifted by whole patches, so that the square that it gives lies where it is
    pasted; in x's memory order. corners: (B, 2, 2) tokens, [[to row, to column], [from row, from column]]."""
    rows, columns = (
        _shifted(corners[:, 0, i], corners[:, 1, i], pixels, tokens)
        for i, (pixels, tokens) in enumerate(zip(x.shape[2:], grid, strict=True))
    )
    if x.is_contiguous():
        channels = torch.arange(x.shape[1], device=x.device)[:, None, None]
        return x[partner[:, None, None, None], channels, rows[:, None, :, None], columns[:, None, None]]
    last = x.permute(0, 2, 3, 1)[partner[:, None, None], rows[:, :, None], columns[:, None]]
    return last.permute(0, 3, 1, 2)


def _shifted(to: Tensor, origin: Tensor, pixels: int, tokens: int) -> Tensor:
    """(B, pixels) int64: from where each pixel of an axis is taken, when token `origin` (B,) moves `to` (B,)."""
    start, end = ((token * pixels + tokens - 1) // tokens for token in (origin, to))  # first pixels of the tokens
    return (torch.arange(pixels, device=to.device) + (start - end)[:, None]).clamp(0, pixels - 1)
