"""What the served explorer answers to addresses: images by id, nothing else; who may ask; where from."""

from __future__ import annotations

import asyncio
import http.client
import io
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from bokeh.application import Application
from bokeh.application.handlers import DirectoryHandler
from bokeh.server.auth_provider import AuthModule
from bokeh.server.server import Server
from PIL import Image

from modescope import store
from tests.dashboards import hostile
from tests.dashboards.driving import APP

REFUSES = """
login_url = "/login"
def get_user(handler):
    return None
"""
Asked = tuple[int, bytes, dict[str, str]]


class Door:
    """One connection to a served explorer that follows no redirect."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.line = http.client.HTTPConnection("localhost", port, timeout=60)

    def close(self) -> None:
        self.line.close()

    def ask(self, path: str, **headers: str) -> Asked:
        self.line.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = self.line.getresponse()
        return answer.status, answer.read(), dict(answer.headers)


@contextmanager
def opened(root: Path, **options: object) -> Iterator[Door]:
    """A server of a project in a thread of its own."""
    ready, ports, ends = threading.Event(), [], []

    async def serve(app: Application) -> None:
        end = asyncio.Event()
        ends.append((asyncio.get_running_loop(), end))
        server = Server({"/explorer": app}, port=0, **options)
        server.start()
        ports.append(server.port)
        ready.set()
        await end.wait()
        server.stop()

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MODESCOPE_ROOT", str(root))
        app = Application(DirectoryHandler(filename=str(APP)))
        thread = threading.Thread(target=lambda: asyncio.run(serve(app)))
        thread.start()
        try:
            assert ready.wait(60)
            with closing(Door(ports[0])) as door:
                yield door
        finally:
            for loop, end in ends:
                loop.call_soon_threadsafe(end.set)
            thread.join()


@pytest.fixture(scope="module")
def door(project_root: Path) -> Iterator[Door]:
    with opened(project_root) as door:
        yield door


@pytest.mark.parametrize(("sample_id", "folder"), [("real/5", "real"), ("fake/student/7", "fake/student")])
def test_an_image_comes_by_its_id_and_may_be_kept(door: Door, project_root: Path, sample_id: str, folder: str) -> None:
    status, content, headers = door.ask(f"/explorer/thumb/{sample_id}?v=1")
    assert status == 200
    assert "max-age" in headers["Cache-Control"]
    assert headers["Content-Type"] == "image/png"
    kept = store.open_stored_images(project_root / "data" / folder).select([sample_id]).pixels[0, 0]
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(content))), kept)


def test_of_a_thousand_ids_that_nobody_has_none_is_answered(door: Door) -> None:
    for name in hostile.ids(1000):
        status, content, _ = door.ask(f"/explorer/thumb/{name}")
        assert (status, len(content) < 200, b"Traceback" in content) == (404, True, False), name
    assert door.ask("/explorer/thumb/real/5")[0] == 200


@pytest.mark.parametrize("path", ["made/{}.py", "made.zip?ids={}", "report.html?view={}&generator={}", "report.{}"])
def test_of_hostile_downloads_none_is_answered(door: Door, path: str) -> None:
    for name in hostile.ids(120):
        status, content, _ = door.ask(f"/explorer/{path.format(name, name)}")
        assert (status, len(content) < 200, b"Traceback" in content) == (404, True, False), name


def test_whatever_an_address_asks_for_the_page_is_there_and_repeats_nothing_of_it(door: Door) -> None:
    names = (
        "view",
        "generator",
        "versus",
        "selected",
        "found",
        "frame",
        "k",
        "tab",
        "theme",
        "gap",
        "shown",
        "solo",
        "x",
    )
    for value in ("1e999,0,0,1", "../../params.yaml", "real/5", hostile.TAG, "</script><script>alert(1)</script>"):
        status, content, _ = door.ask(f"/explorer?{'&'.join(f'{name}={hostile.quote(value)}' for name in names)}")
        assert status == 200, value
        assert b"alert(1)" not in content


@pytest.fixture(scope="module")
def locked(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    module = tmp_path_factory.mktemp("auth") / "auth.py"
    module.write_text(REFUSES)
    with opened(project_root, auth_provider=AuthModule(module), sign_sessions=True, secret_key=b"secret") as door:
        yield door


@pytest.mark.parametrize(
    "path",
    ["", "/thumb/real/5", "/thumb/nobody", "/made/0.py", "/made.zip?ids=0", "/report.html", "/metadata"],
)
def test_whom_the_auth_module_refuses_is_sent_to_the_login_from_everywhere(locked: Door, path: str) -> None:
    status, content, headers = locked.ask(f"/explorer{path}")
    assert status == 302
    assert headers["Location"].startswith("/login")
    assert content == b""


def test_with_signed_sessions_nobody_names_a_session_himself(project_root: Path) -> None:
    with opened(project_root, sign_sessions=True, secret_key=b"secret") as door:
        assert door.ask("/explorer?bokeh-session-id=guessed")[0] == 403


@pytest.mark.parametrize(("origin", "status"), [("http://elsewhere.example", 403), ("http://localhost:{}", 101)])
def test_a_page_from_elsewhere_gets_no_connection(door: Door, origin: str, status: int) -> None:
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Version": "13"}
    keys = {"Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": origin.format(door.port)}
    with closing(Door(door.port)) as fresh:
        fresh.line.request("GET", "/explorer/ws", headers={n.replace("_", "-"): v for n, v in (upgrade | keys).items()})
        with closing(fresh.line.getresponse()) as answer:
            assert answer.status == status
