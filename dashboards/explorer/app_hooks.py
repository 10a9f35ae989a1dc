"""Runs before the first visit: opens the project and adds the route of the images."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.server import urls
from bokeh.server.views.auth_request_handler import AuthRequestHandler
from bokeh.settings import settings
from tornado.web import HTTPError, authenticated

from . import downloads, making, opening
from .desk import Desk
from .parts import PARTS
from .resources import png

log = logging.getLogger(__name__)

ROUTE = r"/thumb/(.+)"
DAY = 86400


class Thumbnail(AuthRequestHandler):
    """`<app>/thumb/<sample id>` => PNG. The id is looked up among those known, and never used as a path."""

    def initialize(self, **_context: Any) -> None:
        """Bokeh hands every route of an app its context; an image needs none of it."""

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        return value.decode("utf-8", errors="replace")  # an id nobody has, whatever the bytes

    @authenticated
    async def get(self, sample_id: str) -> None:
        try:
            pixels = making.thumbnail(sample_id)
        except (ValueError, OSError):
            pixels = None
        if pixels is None:
            raise HTTPError(404)
        self.set_header("Content-Type", "image/png")
        self.set_header("Cache-Control", f"private, max-age={DAY}, immutable")  # addresses carry a version
        self.set_header("X-Content-Type-Options", "nosniff")
        self.write(png(pixels))


for route in ((ROUTE, Thumbnail), *downloads.ROUTES):
    if not any(pattern[0] == route[0] for pattern in urls.per_app_patterns):  # this file is run more than once
        urls.per_app_patterns.append(route)


def on_server_loaded(server_context: Any) -> None:
    settings.perform_document_validation = False  # a tenth of a second of every visit; the tests do it
    png(np.zeros((1, 1, 1), np.uint8))  # Pillow looks for its encoders on first use
    try:
        studio = making.shared()
        Desk(
            studio, Document(), "", opening.first(studio), PARTS
        )  # what it imports and caches, the first visitor need not wait for
    except (ValueError, OSError) as error:
        log.warning("%s", error)
