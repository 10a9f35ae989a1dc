"""The class table: a bijection with known rows, and look-ups that never guess."""

from __future__ import annotations

import numpy as np
import pytest

from modescope import classes


def test_table_holds_a_thousand_classes_in_synset_order() -> None:
    synsets = [entry.synset for entry in classes.table()]
    assert len(set(synsets)) == 1000
    assert synsets == sorted(synsets)
    assert [entry.index for entry in classes.table()] == list(range(1000))
    assert {entry.npz_label for entry in classes.table()} == set(range(1, 1001))


def test_known_rows() -> None:
    tench = classes.by_npz_label(449)
    assert (tench.index, tench.synset, tench.name) == (0, "n01440764", "tench")
    assert str(tench) == "0 n01440764 tench"
    assert classes.by_synset("n02012849").index == 134
    assert classes.by_index(517).synset == "n03126707"


def test_no_npz_label_is_the_index_plus_one() -> None:
    assert not any(entry.npz_label == entry.index + 1 for entry in classes.table())


def test_every_npz_label_leads_to_its_class_and_back() -> None:
    labels = np.array([entry.npz_label for entry in classes.table()])
    assert np.array_equal(classes.from_npz_labels(labels), np.arange(1000))
    assert classes.from_npz_labels(labels[:0]).shape == (0,)


def test_translated_labels_do_not_share_memory_with_the_table() -> None:
    first = classes.from_npz_labels(np.array([449, 449]))
    first[:] = 7
    assert classes.from_npz_labels(np.array([449]))[0] == 0


@pytest.mark.parametrize("key", [0, "0", "n01440764", "N01440764", "tench", "Tench", " tench ", np.int64(0)])
def test_find_takes_index_synset_or_name(key: int | str) -> None:
    assert classes.find(key).index == 0


def test_find_takes_underscores_for_spaces() -> None:
    assert classes.find("golden_retriever").index == 207


def test_every_class_is_found_by_index_and_by_synset_and_all_but_four_by_name() -> None:
    for entry in classes.table():
        assert classes.find(entry.index) is entry
        assert classes.find(entry.synset) is entry
        if entry.name not in ("crane", "maillot"):
            assert classes.find(entry.name) is entry


@pytest.mark.parametrize(
    ("name", "one", "other"), [("crane", "134 n02012849", "517 n03126707"), ("Maillot", "638", "639")]
)
def test_an_ambiguous_name_lists_its_candidates(name: str, one: str, other: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.* means 2 classes: {one}.*{other}.* Give the index or the synset"):
        classes.find(name)


def test_names_that_differ_by_case_alone_are_told_apart_or_listed() -> None:
    assert classes.find("Cardigan").synset == "n02113186"  # the dog
    assert classes.find("cardigan").synset == "n02963159"  # the garment
    with pytest.raises(ValueError, match=r"means 2 classes: 264 .*474"):
        classes.find("CARDIGAN")


def test_an_unknown_name_lists_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"class 'tenchh' is not .*nearest: 0 n01440764 tench"):
        classes.find("tenchh")
    with pytest.raises(ValueError, match=r"class 'retriever' .*nearest: .*retriever"):
        classes.find("retriever")
    with pytest.raises(ValueError, match="none is close"):
        classes.find("")


@pytest.mark.parametrize("index", [-1, 1000])
def test_an_index_outside_the_table_is_refused(index: int) -> None:
    with pytest.raises(ValueError, match=f"class index {index} is outside 0..999"):
        classes.find(index)


def test_an_unknown_synset_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"synset 'n01440765' is not one of ImageNet's 1000; nearest: .*n01440764"):
        classes.by_synset("n01440765")


@pytest.mark.parametrize("label", [0, -3, 1001])
def test_npz_labels_outside_the_thousand_are_refused(label: int) -> None:
    with pytest.raises(ValueError, match=rf"npz label {label} \(row 1\) is outside 1..1000"):
        classes.from_npz_labels(np.array([1, label]))
