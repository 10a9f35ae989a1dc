"""One session's document."""

from __future__ import annotations

from bokeh.document import Document
from bokeh.io import curdoc

from . import making, views
from .controls import Desk


def address(document: Document) -> str:
    """Where the images are, relative to the page, so that prefixes and proxies do not matter."""
    context = document.session_context
    path = "" if context is None or context.request is None else str(context.request.path)
    return f"{path.rpartition('/')[2]}/thumb/".lstrip("/")


def build(document: Document) -> None:
    document.title = "modescope explorer"
    try:
        studio = making.shared()
    except (ValueError, OSError) as error:
        views.show_empty(document, str(error))
        return
    desk = Desk(studio, document, address(document))
    document.on_session_destroyed(desk.close)


build(curdoc())
