"""Reports without their slow parts, and a browser that opens their pages from disk.

Tests that need a browser skip where there is none.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import pytest
from playwright.sync_api import Browser, Dialog, Page, sync_playwright

from gapbench.reports.document.model import Document
from gapbench.reports.render import html
from gapbench.reports.render.report import document, gather
from tests.support.results_folder import FEW, fill

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Open(Protocol):
    """Opens a page, and fails when it asks the network or writes an error to the console."""

    def __call__(
        self,
        path: Path,
        fragment: str = "",
        *,
        width: int = 1280,
        scheme: Literal["light", "dark"] = "light",
    ) -> Page:
        """Return the page, in a window of ``width`` x 900 pixels.

        Args:
            path: the file.
            fragment: what stands behind the path in the address, with its "#".
            width: in pixels.
            scheme: colours that the system asks for.
        """


@dataclass(frozen=True)
class Study:
    """A results folder, its report, and the file of the report's page."""

    results: Path
    content: Document
    page: Path


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A study of three methods on two tasks, which no test changes: its figures take seconds."""
    folder = tmp_path_factory.mktemp("few")
    root = fill(folder / "results", methods=FEW).root
    study = Study(root, document(gather(root)), folder / "report.html")
    html.write(study.content, study.page)
    return study


@pytest.fixture
def no_figures(page_alone: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """Leave the figures of the page empty too, where a test reads text or tables."""
    monkeypatch.setattr("gapbench.reports.figures.theme._draw", lambda _: "<svg></svg>")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One headless Chromium for all tests of a process."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser found, looked for {', '.join(NAMES)}")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program,
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Open pages that must stay silent: no request but for the file, no error, no dialog."""
    with _silent(browser) as opened:
        yield opened


@contextmanager
def _silent(browser: Browser) -> Iterator[Open]:
    noise: list[str] = []
    contexts = []

    def opened(path: Path, fragment: str = "", **look: Any) -> Page:
        size = {"width": look.get("width", 1280), "height": 900}
        context = browser.new_context(viewport=size, color_scheme=look.get("scheme", "light"))
        contexts.append(context)
        page = context.new_page()
        address = path.as_uri()
        page.on("request", lambda request: _note(noise, request.url, unless=address))
        page.on("console", lambda message: noise.append(message.text))
        page.on("pageerror", lambda error: noise.append(str(error)))
        page.on("dialog", lambda dialog: _dismiss(noise, dialog))
        page.goto(address + fragment)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert noise == []


def _note(noise: list[str], url: str, *, unless: str) -> None:
    if url.partition("#")[0] != unless:
        noise.append(url)


def _dismiss(noise: list[str], dialog: Dialog) -> None:
    noise.append(dialog.message)
    dialog.dismiss()
