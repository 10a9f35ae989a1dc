"""One session's document."""

from __future__ import annotations

from bokeh.document import Document
from bokeh.io import curdoc
from bokeh.models import Div

from . import making, opening
from .desk import Desk
from .parts import PARTS


def address(document: Document) -> str:
    """Where the images are, relative to the page, so that prefixes and proxies do not matter."""
    context = document.session_context
    path = "" if context is None or context.request is None else str(context.request.path)
    return f"{path.rpartition('/')[2]}/thumb/".lstrip("/")


def query(document: Document) -> dict[str, str]:
    """What the page's address asks for."""
    context = document.session_context
    said = {} if context is None or context.request is None else context.request.arguments
    return {name: values[-1].decode("utf-8", errors="replace") for name, values in said.items() if values}


def build(document: Document) -> None:
    document.title = "modescope explorer"
    try:
        studio = making.shared()
    except (ValueError, OSError) as error:
        document.template_variables["message"] = str(error)
        document.add_root(Div(name="empty", text=""))
        return
    desk = Desk(studio, document, address(document), opening.first(studio, query(document)), PARTS)
    document.on_session_destroyed(desk.close)


build(curdoc())
