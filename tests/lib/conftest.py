"""What tests of untrusted files share."""

from __future__ import annotations

import pickle

import pytest

from tests.lib.traps import Evil


@pytest.fixture
def target(tmp_path):
    """The file that would be there if anything had run."""
    path = tmp_path / "harm"
    pickle.loads(pickle.dumps(Evil(path)))
    assert path.exists(), "the trap itself must work"
    path.unlink()
    yield path
    assert not path.exists()
