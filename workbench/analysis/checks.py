"""The checks of `audit`, one function each: what it calls the mixing function with, and what must come of it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workbench.analysis.invariants import (
    CALLS,
    CLOSE,
    COARSE,
    ROUNDS,
    Broken,
    NotApplicable,
    Outcome,
    Subject,
    as_area,
    check,
    check_labels,
    check_rows,
    distance,
    evidence,
    in_pixels,
    noise,
    one_hot,
    shown,
    telling,
)
from workbench.analysis.invariants import CHECKS as CHECKS

# ------------------------------------------------------------------------------------------------ labels and pixels


@check("images keep their shape, type and device")
def shape(subject: Subject) -> str:
    x, y = telling(subject)
    outcome = subject(x.clone(), y.clone())
    check_rows(outcome, y)
    if outcome.images.shape[1:] != x.shape[1:]:
        raise Broken(f"images of {tuple(x.shape[1:])} became {tuple(outcome.images.shape[1:])}")
    if (outcome.images.dtype, outcome.images.device) != (x.dtype, x.device):
        raise Broken(f"{x.dtype} on {x.device} became {outcome.images.dtype} on {outcome.images.device}")
    return f"{len(outcome.images)} x {tuple(x.shape[1:])} {x.dtype}"


@check("labels sum to 1")
def label_sums(subject: Subject) -> str:
    x, y = telling(subject)
    worst = max(float((subject(x.clone(), y.clone(), s).labels.sum(1) - 1).abs().max()) for s in range(ROUNDS))
    if not worst <= CLOSE:
        raise Broken(f"sums of label weights miss 1 by up to {worst:.3g}")
    return f"to within {worst:.0e}"


@check("label weights lie from 0 to 1")
def label_range(subject: Subject) -> str:
    x, y = telling(subject)
    labels = torch.cat([subject(x.clone(), y.clone(), s).labels for s in range(ROUNDS)])
    low, high = float(labels.min()), float(labels.max())
    if not (low >= -CLOSE and high <= 1 + CLOSE):
        raise Broken(f"weights go from {low:.3g} to {high:.3g}")
    spread = float(labels.min(1).values.max())
    if spread > CLOSE and subject.classes > 3:
        raise Broken(f"every class has at least {spread:.3g}; if that is label smoothing, give label_smoothing=...")
    return f"{low:.2f} to {high:.2f}"


@check("labels name the images that are in the mix")
def same_permutation(subject: Subject) -> str:
    x, y = telling(subject)
    for seed in range(ROUNDS):
        outcome = subject(x.clone(), y.clone(), seed)
        check_rows(outcome, y)
        seen = in_pixels(outcome, y, subject.classes)
        strange = ((outcome.labels > COARSE) & (seen < CLOSE)) | ((seen > COARSE) & (outcome.labels < CLOSE))
        if strange.any():
            row = int(strange.any(1).nonzero()[0])
            reason = f"row {row}: label has {shown(outcome.labels[row])}; pixels have {shown(seen[row])}"
            expected = as_area(outcome.labels[row], y, x[0])
            raise Broken(reason, evidence(x, outcome, row, expected, "the label, as area"))
    return f"{ROUNDS} batches of {len(y)}"


@check("label weights equal the shares of the pixels")
def lambda_is_share(subject: Subject) -> str:
    x, y = telling(subject)
    for seed in range(ROUNDS):
        check_labels(subject, x, y, seed)
    return f"{ROUNDS} batches of {len(y)}"


@check("pixel shares sum to 1")
def pixel_sums(subject: Subject) -> str:
    x, y = telling(subject)
    for seed in range(ROUNDS):
        outcome = subject(x.clone(), y.clone(), seed)
        off = (outcome.images.double().sum(1) - 1).abs().flatten(1).amax(1)
        row = int(off.argmax())
        if not off[row] <= CLOSE:
            pixels = evidence(x, outcome, row, as_area(outcome.labels[row], y, x[0]), "the label, as area")
            raise Broken(f"row {row}: shares of the images in a pixel miss 1 by {float(off[row]):.3g}", pixels)
    return f"{ROUNDS} batches of {len(y)}"


@check("the mask matches the pixels")
def mask_matches(subject: Subject) -> str:
    told = 0
    for height, width in ((subject.size, subject.size), (24, 40)):
        x, y = telling(subject, height=height, width=width)
        for seed in range(ROUNDS):
            outcome = subject(x.clone(), y.clone(), seed)
            if outcome.mask is not None:
                _hold_mask(x, outcome, outcome.mask)
                told += 1
    if not told:
        raise NotApplicable("returns no mask")
    return f"{told} batches, square and not"


def _hold_mask(x: Tensor, outcome: Outcome, mask: Tensor) -> None:
    """mask: (R, B, H, W) shares of all rows, or (R, 1, H, W) of the row itself."""
    pixels, rows = outcome.images[:, : len(x)], torch.arange(len(outcome.images)) % len(x)
    single = mask.shape[1] == 1 and len(x) > 1
    own = pixels[torch.arange(len(rows)), rows][:, None]
    off = ((own if single else pixels) - mask).abs().flatten(1).amax(1)
    with_itself = own.flatten(1).amin(1) > 1 - CLOSE  # a row that is its own partner is whole, whatever its mask
    worst = torch.where(with_itself, 0.0, off) if single else off
    row = int(worst.argmax())
    if worst[row] <= CLOSE:
        return
    wished = torch.zeros_like(outcome.images[row])
    if single:
        wished[rows[row]] = mask[row, 0]
    else:
        wished[: len(x)] = mask[row]
    pixels_of = evidence(x, outcome, row, wished, "the mask")
    raise Broken(f"row {row}: mask and pixels differ by up to {float(worst[row]):.3g}", pixels_of)


# ------------------------------------------------------------------------------------------------- kinds of batches


@check("images that are not square")
def not_square(subject: Subject) -> str:
    for seed, sides in enumerate(((24, 40), (40, 24))):
        check_labels(subject, *telling(subject, None, *sides), seed)
    return "24 x 40 and 40 x 24"


@check("an odd batch")
def odd_batch(subject: Subject) -> str:
    rows = subject.channels - 1 + subject.channels % 2
    check_labels(subject, *telling(subject, rows), 0)
    return f"{rows} images"


@check("a batch of one")
def batch_of_one(subject: Subject) -> str:
    x, y = torch.full((1, subject.channels, subject.size, subject.size), 0.5), torch.tensor([subject.classes - 1])
    outcome = subject(x.clone(), y.clone())
    if distance(outcome.labels, one_hot(y, subject.classes)) > CLOSE:
        raise Broken(f"its label became {shown(outcome.labels[0])}")
    if distance(outcome.images, x) > CLOSE:
        raise Broken(f"a flat image changed by {distance(outcome.images, x):.3g}")
    return "stays as it is"


@check("images of one channel")
def one_channel(subject: Subject) -> str:
    return _channels(subject, 1)


@check("images of five channels")
def five_channels(subject: Subject) -> str:
    return _channels(subject, 5)


def _channels(subject: Subject, channels: int) -> str:
    if subject.fixed_channels and channels != subject.channels:
        raise NotApplicable(f"a net looks at the images, and takes {subject.channels} channels")
    x, y = noise(subject, 4, channels)
    outcome = subject(x.clone(), y.clone())
    if outcome.images.shape[1:] != x.shape[1:]:
        raise Broken(f"images of {tuple(x.shape[1:])} became {tuple(outcome.images.shape[1:])}")
    return f"4 x {channels} channels"


@check("bfloat16 images")
def bfloat16(subject: Subject) -> str:
    return _half(subject, torch.bfloat16)


@check("float16 images")
def float16(subject: Subject) -> str:
    return _half(subject, torch.float16)


def _half(subject: Subject, dtype: torch.dtype) -> str:
    """Labels must not share the images' precision: bfloat16 knows no class 999."""
    x, y = telling(subject)
    classes = 1000 if subject(x.clone(), y.clone()).by_ids else subject.classes
    y = classes - 1 - y
    outcome = subject(x.to(dtype), y.clone(), 0, classes)
    if outcome.images.dtype != dtype:
        raise Broken(f"{dtype} became {outcome.images.dtype}")
    off = (outcome.labels - in_pixels(outcome, y, classes)).abs().amax(1)
    row = int(off.argmax())
    if not off[row] <= COARSE:
        seen = in_pixels(outcome, y, classes)[row]
        raise Broken(f"row {row}: label has {shown(outcome.labels[row])}; pixels have {shown(seen)}")
    return f"labels right to {COARSE}, classes up to {classes - 1}"


@check("float64 images")
def float64(subject: Subject) -> str:
    if subject.fixed_channels:
        raise NotApplicable("a net of float32 looks at the images")
    x, y = telling(subject)
    outcome, single = subject(x.double(), y.clone()), subject(x.clone(), y.clone())
    if outcome.images.dtype != torch.float64:
        raise Broken(f"torch.float64 became {outcome.images.dtype}")
    if distance(outcome.images, single.images) > CLOSE:
        raise Broken(f"the mix differs from that in float32 by {distance(outcome.images, single.images):.3g}")
    return "as in float32"


# -------------------------------------------------------------------------------------------------- nothing disturbed


@check("the input is not written to")
def input_untouched(subject: Subject) -> str:
    for seed in range(ROUNDS):
        x, y = telling(subject)
        given, labels = x.clone(), y.clone()
        subject(given, labels, seed)
        for what, now, before in (("images", given, x), ("labels", labels, y)):
            if not torch.equal(now, before):
                raise Broken(f"writes into its input: {what} differ by up to {distance(now, before):.3g}")
    return f"{ROUNDS} batches"


@check("pixels stay within 0 to 1")
def range_kept(subject: Subject) -> str:
    x, y = noise(subject)
    images = torch.stack([subject(x.round(), y.clone(), seed).images for seed in range(ROUNDS)])
    low, high = float(images.min()), float(images.max())
    if not (low >= -1e-6 and high <= 1 + 1e-6):
        raise Broken(f"pixels of 0 and 1 became {low:.3g} to {high:.3g}")
    return f"{low:.2f} to {high:.2f}"


@check("equal images and labels stay as they are")
def itself(subject: Subject) -> str:
    flat = torch.linspace(0.1, 0.9, subject.channels)[None, :, None, None]
    x = flat.expand(8, -1, subject.size, subject.size).contiguous()
    y = torch.full((8,), subject.classes - 1)
    for seed in range(ROUNDS):
        outcome = subject(x.clone(), y.clone(), seed)
        if distance(outcome.images, x[torch.arange(len(outcome.images)) % 8]) > CLOSE:
            raise Broken("a batch of one flat image became something else")
        if distance(outcome.labels[:, -1], torch.ones(len(outcome.labels))) > CLOSE:
            raise Broken(f"a batch of one class became {shown(outcome.labels[0])}")
    return f"{ROUNDS} batches"


@check("black and white images give finite numbers")
def finite(subject: Subject) -> str:
    x, y = noise(subject)
    black_and_white = x.clone()
    black_and_white[::2], black_and_white[1::2] = 0, 1
    for seed, images in enumerate((torch.zeros_like(x), torch.ones_like(x), black_and_white)):
        outcome = subject(images, y.clone(), seed)
        if not (outcome.images.isfinite().all() and outcome.labels.isfinite().all()):
            raise Broken("nan or infinity came of images of 0 and 1")
    return "black, white, and both"


@check("no gradient leaks")
def gradient(subject: Subject) -> str:
    x, y = noise(subject)
    before = torch.is_grad_enabled()
    plain = subject(x.clone(), y.clone())
    if torch.is_grad_enabled() != before:
        raise Broken("leaves gradients switched " + ("off" if before else "on"))
    if plain.images.requires_grad and not subject.learns:
        raise Broken("images that need no gradient came back with one")
    if subject(x.requires_grad_() * 1, y.clone()).labels.requires_grad:
        raise Broken("labels have a gradient with respect to the images")
    return "labels are constants"


@check("class ids and soft labels agree")
def soft_labels(subject: Subject) -> str:
    x, y = telling(subject)
    ids = subject(x.clone(), y.clone())
    try:
        soft = subject(x.clone(), one_hot(y, subject.classes).float())
    except Exception as error:  # a stranger's way to say no
        raise NotApplicable(f"takes class ids only ({type(error).__name__})") from None
    if len(soft.labels) != len(soft.images):  # read as so many ids, they can be trained with no more than an error
        raise NotApplicable(f"takes class ids only (soft labels gave {len(soft.labels)} rows)")
    if distance(ids.images, soft.images) > CLOSE:
        raise Broken("the images differ")
    if ids.labels.shape != soft.labels.shape:
        raise Broken(f"soft labels (B, classes) gave labels {tuple(soft.labels.shape)}")
    if distance(ids.labels, soft.labels) > CLOSE:
        raise Broken(f"row 0: {shown(ids.labels[0])} from ids, {shown(soft.labels[0])} from soft labels")
    return "the same mix and labels"


# ---------------------------------------------------------------------------------------------------------- draws


@check("the same seed gives the same mix")
def replay(subject: Subject) -> str:
    x, y = noise(subject)
    first = subject(x.clone(), y.clone(), 3)
    subject(x.clone(), y.clone(), 4)
    again = subject(x.clone(), y.clone(), 3)
    if distance(first.images, again.images) > 0 or distance(first.labels, again.labels) > 0:
        raise Broken("a call with the same seed, after another one, gave another mix")
    return "to the bit, after another call"


@check("another seed gives another mix")
def reseed(subject: Subject) -> str:
    x, y = noise(subject)
    images = [subject(x.clone(), y.clone(), seed).images for seed in range(ROUNDS)]
    if all(torch.equal(i, x) for i in images):
        raise NotApplicable("mixes nothing")
    if all(torch.equal(i, images[0]) for i in images):
        raise Broken(f"{ROUNDS} seeds gave one and the same mix")
    return f"{ROUNDS} seeds"


@check("each row has its own lambda")
def per_sample(subject: Subject) -> str:
    if not subject.per_sample:
        raise NotApplicable("one draw for the whole batch is what was asked for")
    x, y = noise(subject)  # so that methods which look at the images have something to see
    most, mixed = 0, 0
    for seed in range(ROUNDS):
        labels = subject(x.clone(), y.clone(), seed).labels
        own = labels[torch.arange(len(labels)), y[torch.arange(len(labels)) % len(y)]]
        drawn = own[(own > CLOSE) & (own < 1 - CLOSE)]
        mixed += len(drawn)
        most = max(most, len((drawn / CLOSE).round().unique()))
    if not mixed:
        raise NotApplicable("mixes nothing")
    if most < 2:
        raise Broken(f"one lambda for the whole batch, in {ROUNDS} batches of {len(y)}")
    return f"up to {most} in a batch of {len(y)}"


@check("the probability of mixing is kept")
def probability(subject: Subject) -> str:
    if subject.prob is None:
        raise NotApplicable("give prob=... to have it checked")
    if subject.prob >= 1:
        raise NotApplicable("every batch is mixed")
    x, y = noise(subject)
    hard, changed = one_hot(y, subject.classes), 0.0
    for seed in range(CALLS):
        outcome = subject(x.clone(), y.clone(), seed)
        same = (outcome.images == x).flatten(1).all(1) & ((outcome.labels - hard).abs().amax(1) < CLOSE)
        changed += float((~same).double().mean()) / CALLS
    slack = COARSE + 4 * math.sqrt(subject.prob * (1 - subject.prob) / CALLS)
    low, high = subject.prob * (1 - 1 / len(x)) - slack, subject.prob + slack  # a row may be its own partner
    if not low <= changed <= high:
        raise Broken(f"{changed:.2f} of the rows were mixed, expected {subject.prob:g}")
    return f"{changed:.2f} of the rows, expected {subject.prob:g}"
