"""Looks at a page: its layout, its contrast, its accessibility, and whether a line on it works."""

from __future__ import annotations

import asyncio
import shlex
import subprocess

from playwright.async_api import Page

from tests.support.client_tools import need_axe

_STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
_CHECK = """(only) => axe.run(document, { runOnly: only }).then(({ violations }) =>
  violations.map(({ id, nodes }) => `${id}: ${nodes[0].html} ${nodes[0].failureSummary}`))"""


async def overflow(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    width: int = await page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return width


async def run_as_shown(line: str) -> str:
    """What a line for a shell prints."""
    done = await asyncio.to_thread(
        subprocess.run, shlex.split(line), capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


async def violations(page: Page) -> list[str]:
    """Rules of WCAG 2.2, level AA, that the page breaks, as far as axe can check them.

    axe is evaluated within the page's security policy.
    """
    return await _found(page, _STANDARDS)


async def weak_contrasts(page: Page) -> list[str]:
    """The texts that axe finds hard to read, which another colour scheme may change."""
    return await _found(page, ["color-contrast"])


async def _found(page: Page, only: list[str]) -> list[str]:
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(need_axe())
    found: list[str] = await page.evaluate(_CHECK, only)
    return found


# The lowest contrast (WCAG 2, relative luminance) of any text on the page with its background.
WEAKEST_CONTRAST = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => {
    const [r, g, b] = parts(colour).map((v) => v / 255)
      .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (parts(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const ratios = [...document.querySelectorAll("body *")]
    .filter((e) => e.checkVisibility())
    .filter((e) => [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
    .map((e) => [light(getComputedStyle(e).color), light(behind(e))])
    .map(([a, b]) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
  return Math.min(...ratios);
}"""
