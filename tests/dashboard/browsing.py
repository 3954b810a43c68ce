"""A real browser that looks at the page, and what it complains of."""

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
VIEWS = ("overview", "warm-up", "analysis", "pruning", "recovery", "growth", "evaluation", "cycles", "compare")
READY = "html[data-ready]"
BLIND = "window.IntersectionObserver = class { observe() {} unobserve() {} disconnect() {} };"
LAUNCH = ("--no-sandbox", "--disable-dev-shm-usage")


@cache
def browser() -> Browser:
    """The one browser of this process."""
    playwright = sync_playwright().start()
    started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(LAUNCH))

    def close() -> None:
        started.close()
        playwright.stop()

    atexit.register(close)
    return started


class Visit:
    """A page that is open, and all that it asked for or complained of."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.address = page, address
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))

    def see(self, place: str = "") -> Page:
        """The page at this place of its address, drawn."""
        self.page.goto(f"{self.address}#{place}")
        self.page.wait_for_selector(READY, state="attached")
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.page.evaluate("new Promise((done) => setTimeout(() => requestAnimationFrame(() => setTimeout(done, 20)), 130))")


@contextmanager
def visiting(address: str, *, scheme: str = "light", charts: bool = False, **options: Any) -> Iterator[Visit]:
    """A fresh visitor of this address, who remembers nothing; in the end nothing may have been complained of.

    Without charts none ever comes into view, so their library, which takes a second, is never loaded.
    """
    if not CHROMIUM.exists():
        if os.environ.get("CI"):
            pytest.fail(f"There is no browser at {CHROMIUM}, and here it must be: install Debian's chromium.")
        pytest.skip(f"there is no browser at {CHROMIUM}")
    context = browser().new_context(viewport={"width": 1280, "height": 800}, color_scheme=scheme, **options)  # type: ignore[arg-type]
    if not charts:
        context.add_init_script(BLIND)
    context.set_default_timeout(8000)
    try:
        visit = Visit(context.new_page(), address)
        yield visit
        assert not visit.complaints, visit.complaints
    finally:
        context.close()
