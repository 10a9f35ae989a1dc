"""A session's document without a browser: opening it, reporting what a browser would, waiting for the queue."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from bokeh.application import Application
from bokeh.application.handlers import DirectoryHandler
from bokeh.document import Document
from bokeh.events import ButtonClick

APP = Path(__file__).parents[2] / "dashboards" / "explorer"


def opened(root: Path, patch: pytest.MonkeyPatch) -> Document:
    patch.setenv("MODESCOPE_ROOT", str(root))
    handler = DirectoryHandler(filename=str(APP))
    document = Application(handler).create_document()
    assert not handler.failed, handler.error_detail
    return document


def report(page: Document, *messages: str) -> None:
    """What the browser reports: clicks on ids, keys, buttons in panels."""
    for number, message in enumerate(messages):
        page.get_model_by_name("bridge").value = f"{time.monotonic_ns()}{number} {message}"


def press(page: Document, name: str) -> None:
    button = page.get_model_by_name(name)
    button._trigger_event(ButtonClick(button))


def settle(page: Document, until: Callable[[], bool]) -> None:
    """Run what the queue hands to the session's loop, until something holds."""
    end = time.monotonic() + 60
    while not until():
        assert time.monotonic() < end
        for waiting in list(page.session_callbacks):
            page.remove_next_tick_callback(waiting)
            waiting.callback()
        time.sleep(0.01)


def text(page: Document, name: str) -> str:
    return page.get_model_by_name(name).text
