"""What the browser tests read from a page: pixels, texts, what is cut, and what went wrong."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from tests.browser.serving import LONG, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

PIXELS = """image => {
    const canvas = document.createElement('canvas');
    canvas.width = image.naturalWidth; canvas.height = image.naturalHeight;
    canvas.getContext('2d').drawImage(image, 0, 0);
    return canvas.toDataURL('image/png');
}"""

CUT = """([root, page]) => {
    const seen = e => e.clientWidth > 0 && e.checkVisibility({visibilityProperty: true});
    const named = (e, text) => `${e.tagName.toLowerCase()}.${e.className}: ${text.trim().slice(0, 60)}`;
    const faults = [];
    const pen = document.createElement('canvas').getContext('2d');
    for (const e of document.querySelector(root).querySelectorAll('*')) {
        if (!seen(e) || e.closest('.wb-table')) continue;
        const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (own && !['OPTION', 'SELECT', 'STYLE'].includes(e.tagName) && !e.closest('svg')
            && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline')
            faults.push(named(e, e.textContent));
        if (getComputedStyle(e).overflowX === 'auto' && e.scrollWidth > e.clientWidth + 1)
            faults.push(named(e, 'scrolls sideways'));
        if (e.tagName === 'SELECT') {
            pen.font = getComputedStyle(e).font;
            const room = e.clientWidth - (e.multiple ? 8 : 26);
            const texts = e.multiple ? [...e.options] : [...e.selectedOptions];
            texts.filter(o => pen.measureText(o.text).width > room).forEach(o => faults.push(named(e, o.text)));
        }
        if (e.tagName === 'INPUT' && e.type === 'text' && e.scrollWidth > e.clientWidth + 1)
            faults.push(named(e, e.value));
    }
    for (let e = document.querySelector(root); e; e = e.parentElement)
        if (['auto', 'scroll'].includes(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth + 1)
            faults.push(named(e, 'scrolls sideways as a whole'));
    const sheet = page ? document.querySelector(page) : document.scrollingElement;
    if (sheet.scrollWidth > sheet.clientWidth + 1) faults.push(named(sheet, 'the page scrolls sideways'));
    const right = sheet.getBoundingClientRect().right;
    for (const e of document.querySelector(root).querySelectorAll('*'))
        if (seen(e) && !e.closest('.noUi-target, .wb-table') && e.getBoundingClientRect().right > right + 1)
            faults.push(named(e, 'beyond the right edge'));
    return faults;
}"""
"""Elements whose text is cut or that stand beyond the page's right edge; a choice's text is measured, since a browser
does not tell. A table of numbers may be wide: it scrolls in a box of its own, which must not be."""

BROKEN = ("javascript error", "error displaying widget", "error rendering", "model not found", "failed to load model",
          "traceback (most recent call last)", "error when executing cell")  # fmt: skip
"""What pages say, in small letters, where something could not be shown."""
WIDE, HIGH = 1000, 1100
"""Pixels of the window."""


@contextmanager
def window(browser: Browser) -> Iterator[Page]:
    """A window without memory of others. At its end nothing on it may be broken, and no script may have failed."""
    context = browser.new_context(viewport={"width": WIDE, "height": HIGH})
    errors: list[str] = []
    try:
        page = context.new_page()
        page.set_default_timeout(LONG * 1000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        assert_whole(page)
        assert not errors, errors
    finally:
        context.close()


def pixels(image: Locator) -> np.ndarray:
    """(H, W, 3) uint8: what an <img> shows, in its own resolution."""
    address: str = image.evaluate(PIXELS)
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as drawn:
        return np.array(drawn.convert("RGB"))


def mixed_by(a: np.ndarray, b: np.ndarray, lam: float) -> np.ndarray:
    """What mixup makes of two pictures, (H, W, 3) uint8, independently of the package."""
    return np.round(lam * a.astype(np.float64) + (1 - lam) * b.astype(np.float64)).astype(np.uint8)


def cut(page: Page, root: str, sheet: str = "") -> list[str]:
    """Faults of the layout in the element `root`; `sheet`: what scrolls, if it is not the page."""
    found: list[str] = page.evaluate(CUT, [root, sheet])
    return found


def assert_whole(page: Page) -> None:
    """Nothing on the page says that something broke."""
    text = page.locator("body").inner_text()
    assert not [words for words in BROKEN if words in text.lower()], text


def wait_for_change(image: Locator, before: str) -> None:
    """Until an <img> shows another picture than that of the address `before`, and has it decoded."""
    wait_for("another picture", lambda: image.get_attribute("src") not in (before, None, ""))
    image.evaluate("image => image.decode()")


def press(page: Page, handle: Locator, key: str, times: int = 1) -> None:
    """Put the focus on a slider and press a key."""
    handle.focus(timeout=LONG * 1000)
    for _ in range(times):
        page.keyboard.press(key)
