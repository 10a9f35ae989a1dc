"""What somebody might send who means no good."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

import numpy as np

from modescope import files

TAG = "<img src=x onerror=alert(1)>"
PATHS = (
    *(
        "",
        "/",
        ".",
        "..",
        "~",
        "real",
        "real/",
        "real/60",
        "real/-1",
        "real/05",
        "real/1e1",
        "real/1.0",
        "real/٣",
        "real/+5",
    ),
    *(
        "real/5/",
        "real/5/free",
        "real/5/step/0",
        "fake/student",
        "fake/nobody/1",
        "fake/student/99",
        "fake//1",
        "fake/../real/5",
    ),
    *(
        "real/5\0",
        "real/5\n",
        "real/5?x",
        "real/5#x",
        "real/5;x",
        "real/5 ",
        " real/5",
        "REAL/5",
        "real\\5",
        f"real/{9**400}",
    ),
    *("made/", "made/0", "made/../../params.yaml", "made/0000000000000000/free", "made/*/step/-1", "blind/x", "vote/x"),
    *(
        "../../params.yaml",
        "/etc/passwd",
        "C:\\boot.ini",
        "....//....//etc/passwd",
        "file:///etc/passwd",
        "http://localhost",
    ),
    *(
        TAG,
        "<script>alert(1)</script>",
        "'\"><svg onload=alert(1)>",
        "${7*7}",
        "{{7*7}}",
        "%s%n",
        "$(id)",
        "`id`",
        "'; drop table",
    ),
    *("\ufeff", "\u202e", "💥", "é", "a" * 4000, "%", "%zz", "%00", "null", "NaN", "undefined", "[]", "{}"),
)
"""Ids that name nothing."""
VALUES = (
    *(
        "NaN",
        "Infinity -Infinity",
        "1e999 1e999",
        "-1",
        "0",
        "99999999999999999999",
        "1 2 3 4 5 6 7 8 9",
        "[NaN, 1, 2, 3]",
    ),
    *(
        "[1, 2, 3, 4, 5, 6, 7, 8]",
        "[1e308, -1e308, 1e308, -1e308, 1, 1, 1, 1]",
        "[0, 0, 0, 0, 1e9, 1, 0, 0]",
        "[[[[1]]]]",
    ),
    *(
        "[null, null, null, null]",
        '[true, "1", {}, []]',
        "[" * 50_000,
        '{"a":' * 20_000,
        '"' + "x" * 90_000,
        "[1" + ",1" * 40_000,
    ),
    *(
        "replace",
        "replace {}",
        'replace {"box": [0, 0, 0]}',
        'replace {"box": [NaN, 0, 1, 1]}',
        'replace {"polygon": null}',
    ),
    *('append {"polygon": [[0, 0]]}', 'subtract {"polygon": [], "turn": [1e308, 1]}', f'{TAG} {{"box": [0, 0, 1, 1]}}'),
    *(
        "replace " + json.dumps({"polygon": [[i, -i] for i in range(4000)]}),
        "replace " + json.dumps({"polygon": [[0, 1]] * 9000}),
    ),
    *("csv ../../x", "exe picks", "none up", "close", "left", "select", "real/5 up", "made.zip", "0 1", "4e4", "١"),
)
"""Reports that mean nothing, or nothing good."""
WIDGETS = (
    None,
    True,
    -1,
    0,
    3,
    10**30,
    0.5,
    float("nan"),
    float("inf"),
    "",
    TAG,
    "../../x",
    "x" * 90_000,
    [],
    [99],
    [-1, -1],
    {},
)
"""What a browser may set a widget to."""


def ids(count: int) -> list[str]:
    """Ids as they stand in an address, each of which names nothing: the list, and such as a machine comes upon."""
    rng = np.random.default_rng(0)
    found = [quote(path, safe="") for path in PATHS] + [path for path in PATHS if path.isascii() and path.isprintable()]
    found = [path for path in found if not set(path) & set(' #?"<>\\^`{|}')]
    while len(found) < count:
        start = str(rng.choice(["", "real/", "fake/student/", "made/", "../", "real/5/step/"]))
        letters = bytes(rng.integers(0, 256, rng.integers(1, 30), dtype=np.uint8))
        found.append(start + quote(b"x" + letters, safe=""))
    return found[:count]


def rename_classes(root: Path) -> None:
    """Class names that are markup, formulas, and hard on CSV."""
    path = root / "data/real/manifest.json"
    manifest = files.read_json(path)
    names = [f"{TAG}{i}" for i in range(len(manifest["config"]["classes"]) - 2)]
    manifest["config"]["classes"] = [*names, '=1+1,"\n', "</script><script>alert(1)</script>"]
    files.write_json(path, manifest)


class Tags(HTMLParser):
    """Whether there is markup of ours alone."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script" or any(name.startswith("on") or (name, value) == ("src", "x") for name, value in attrs):
            self.wrong.append(str(self.get_starttag_text()))
