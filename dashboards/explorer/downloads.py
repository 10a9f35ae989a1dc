"""What can be taken away: scripts of made images, folders of them, the report. Routes beside that of the thumbnails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bokeh.server.views.auth_request_handler import AuthRequestHandler
from tornado.ioloop import IOLoop
from tornado.web import HTTPError, authenticated

from modescope import making as library

from . import making, reports

MOST = 400
"""Images in one folder."""
TYPES = {"py": "text/x-python", "zip": "application/zip", "html": "text/html", "json": "application/json"}


class Download(AuthRequestHandler):
    """A file, made when it is asked for, off the event loop. Ids are looked up among those known, never used as paths."""

    def initialize(self, **_context: Any) -> None:
        """Bokeh hands every route of an app its context; a file needs none of it."""

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        return value.decode("utf-8", errors="replace")

    async def send(self, name: str, content: Callable[[], bytes]) -> None:
        try:
            found = await IOLoop.current().run_in_executor(None, content)
        except (ValueError, KeyError, OSError) as error:
            raise HTTPError(404) from error
        kind = TYPES[name.rpartition(".")[2]]
        self.set_header("Content-Type", kind if kind.startswith("application") else f"{kind}; charset=utf-8")
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.write(found)


class Script(Download):
    @authenticated
    async def get(self, name: str) -> None:
        await self.send(f"{name}.py", lambda: script(name))


class Folder(Download):
    @authenticated
    async def get(self) -> None:
        names = self.get_query_argument("ids", "").split(",")[:MOST]
        await self.send("made.zip", lambda: library.bundle(making.shared().workshop, known(names)))


class Report(Download):
    @authenticated
    async def get(self, kind: str) -> None:
        view, generator = (self.get_query_argument(name, "") for name in ("view", "generator"))
        await self.send(f"report.{kind}", lambda: reports.exported(making.shared(), view, generator, kind))


def known(names: list[str]) -> tuple[str, ...]:
    """Hashes from an address => ids of images that are there. ValueError for any other."""
    ids = tuple(f"made/{name}" for name in names)
    if lost := [name for name in ids if name not in making.shared().made]:
        raise ValueError(f"{lost[0][:80]!r} is not among the made images; load the page again")
    return ids


def script(name: str) -> bytes:
    (sample_id,) = known([name])
    return library.script_of(making.shared().workshop, sample_id).encode()


ROUTES = [(r"/made/([0-9a-f]+)\.py", Script), (r"/made\.zip", Folder), (r"/report\.(html|zip|json)", Report)]
