"""Made: what was generated is listed, hidden and brought back, and can be taken away."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import pytest
from bokeh.document import Document
from driving import opened, press, report, settle, text

from dashboards.explorer import downloads, opening
from dashboards.explorer import making as explorer
from dashboards.explorer.desk import Desk
from dashboards.explorer.making import Studio
from dashboards.explorer.parts import PARTS, history
from dashboards.explorer.parts.history import grouped
from dashboards.explorer.resources import load
from modescope import making
from modescope.making import Picked, Wish


@pytest.fixture
def page(fresh_root: Path, monkeypatch: pytest.MonkeyPatch) -> Document:
    page = opened(fresh_root, monkeypatch)
    report(page, "tab generate", "click real/5", "click real/9", "click real/12")
    for _ in range(2):
        press(page, "generate")
        settle(page, lambda: "<progress" not in text(page, "status"))
    report(page, "tab made")
    return page


def listed(page: Document) -> list[str]:
    return re.findall(r'data-event="show (made/\w+)"', text(page, "history"))


def stars(page: Document) -> list[str]:
    return list(page.get_model_by_name("marks made").data_source.data["id"])


def test_undo_takes_the_last_image_off_map_and_list_and_redo_brings_it_back(page: Document) -> None:
    newest, oldest = listed(page)
    assert set(stars(page)) == {newest, oldest}
    report(page, "undo")
    assert listed(page) == [oldest]
    assert stars(page) == [oldest]
    report(page, "undo", "undo")
    assert listed(page) == []
    report(page, "redo", "redo", "redo")
    assert listed(page) == [newest, oldest]


def test_what_is_hidden_can_be_shown_and_brought_back(page: Document) -> None:
    newest, oldest = listed(page)
    report(page, f"hide {oldest}")
    assert listed(page) == [newest]
    assert "Show 1 hidden" in text(page, "history")
    report(page, "hidden")
    assert f'data-event="reveal {oldest}"' in text(page, "history")
    report(page, f"reveal {oldest}")
    assert listed(page) == [newest, oldest]
    assert "hidden" not in text(page, "history")


def test_older_images_come_at_a_press(fresh_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "PAGE", 1)
    studio = Studio(load(fresh_root))
    plain = dict(view="default", generator="student", label=3, layers=("encoder_bottleneck",), seeds=(0, 1))
    studio.make(Wish(**plain, target=Picked(ids=("real/1", "real/2"))))  # type: ignore[arg-type]
    page = Desk(studio, Document(), "", opening.first(studio), PARTS).document
    report(page, "tab made")
    assert len(listed(page)) == 1
    assert "1 older" in text(page, "history")
    report(page, "older")
    assert len(listed(page)) == 2


def test_a_click_shows_the_image_with_its_words(page: Document) -> None:
    _, oldest = listed(page)
    report(page, f"show {oldest}")
    assert f"<code>{oldest}</code>" in text(page, "result")
    assert f"href='{oldest}.py'" in text(page, "result")


def test_images_of_one_wish_stand_together(fresh_root: Path) -> None:
    studio = Studio(load(fresh_root))
    plain = dict(view="default", generator="student", label=3, layers=("encoder_bottleneck",))
    first = studio.make(Wish(**plain, target=Picked(ids=("real/1", "real/2")), seeds=(0, 1, 2)))  # type: ignore[arg-type]
    second = studio.make(Wish(**plain, target=Picked(ids=("real/7",)), seeds=(0,)))  # type: ignore[arg-type]
    groups = [[kept.id for kept in group] for group in grouped(studio.history("default", "student"))]
    assert groups == [[kept.id for kept in second.kept], [kept.id for kept in reversed(first.kept)]]
    assert list(grouped([])) == []


def test_downloads_are_of_known_images_alone(page: Document, fresh_root: Path) -> None:
    ids = listed(page)
    names = [name.removeprefix("made/") for name in ids]
    assert set(explorer.shared().made) == set(ids)  # read from disk by another server
    assert downloads.known(names) == tuple(ids)
    assert b"sampling.sampler('one-step'" in downloads.script(names[0])
    packed = making.bundle(explorer.shared().workshop, downloads.known(names))
    with zipfile.ZipFile(io.BytesIO(packed)) as folder:
        assert {f"{name}/replay.py" for name in names} <= set(folder.namelist())
    for wrong in ("../../params", "0" * 16, ""):
        with pytest.raises(ValueError, match="is not among the made images; load the page again"):
            downloads.known([wrong])
