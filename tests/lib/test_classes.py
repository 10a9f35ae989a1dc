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


OWN = ["10", "2", "cat", "Dog house", "dog_house"]


@pytest.mark.parametrize(
    ("key", "index"),
    [(0, 0), ("10", 0), ("2", 1), (2, 2), (np.int64(3), 3), ("CAT", 2), (" cat ", 2), ("Dog_house", 3), ("3", 3)],
)
def test_a_source_with_its_own_names_takes_index_or_name_and_a_name_before_an_index(key: int | str, index: int) -> None:
    assert classes.resolve([key], OWN) == [index]


def test_the_order_of_the_keys_is_kept() -> None:
    assert classes.resolve(["cat", 0, "2"], OWN) == [2, 0, 1]
    assert classes.resolve([], OWN) == []


def test_a_source_of_imagenet_is_resolved_as_find_does() -> None:
    names = [entry.name for entry in classes.table()]
    synsets = [entry.synset for entry in classes.table()]
    keys = [207, "n01440764", "N01440764", "golden_retriever", "5", "Cardigan"]
    assert classes.resolve(keys, names, synsets) == [classes.find(key).index for key in keys]
    with pytest.raises(
        ValueError, match=r"'crane' means 2 classes: 134 n02012849 .*517 .*Give the index or the synset"
    ):
        classes.resolve(["crane"], names, synsets)
    with pytest.raises(
        ValueError, match="class 'tenchh' is not an index, synset or name of this source's 1000; nearest"
    ):
        classes.resolve(["tenchh"], names, synsets)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("DOG HOUSE", "class name 'DOG HOUSE' means 2 classes: 3 Dog house; 4 dog_house. Give the index$"),
        ("cats", "class 'cats' is not an index or name of this source's 5; nearest: 2 cat"),
        ("house", "nearest: .*house"),
        ("zzz", "none is close"),
        ("n01440764", "is not an index or name"),
        (5, r"class index 5 is outside 0\.\.4, the classes of this source"),
        ("7", r"class index 7 is outside 0\.\.4"),
        (-1, "class index -1"),
    ],
)
def test_what_a_source_does_not_have_is_refused_with_what_is_near(key: int | str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        classes.resolve([key], OWN)
