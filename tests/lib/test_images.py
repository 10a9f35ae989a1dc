"""Readers of real images: the same rows, labels and ids whatever the pixels are stored in."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits

from modescope import classes
from modescope.images import READERS, ImageSource, open_images
from modescope.images import archive as archive_module
from modescope.images import folder as folder_module
from modescope.mapping import MappedRows, fetch_ahead

Packed = dict[str, tuple[np.ndarray, np.ndarray]]

SYNSETS = ["n01440764", "n02012849", "n03126707"]  # indices 0, 134, 517


def pixels(rows: int, side: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, 3, side, side), dtype=np.uint8)


def photo(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def write_shard(
    path: Path, images: np.ndarray, labels: np.ndarray, *, save: Callable[..., None] = np.savez, layout: str = "planes"
) -> None:
    """Images (N, 3, S, S) as one packed file."""
    flat = {"planes": images.reshape(len(images), -1), "chw": images, "hwc": images.transpose(0, 2, 3, 1).copy()}
    save(path, data=flat[layout], labels=labels, mean=np.zeros(3))


@pytest.fixture
def packed(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """Three train files, the tenth after the second: folder, images, standard indices."""
    folder = tmp_path / "packed"
    folder.mkdir()
    images = pixels(15)
    labels = np.random.default_rng(1).integers(1, 1001, 15)
    for number, (start, stop) in {1: (0, 4), 2: (4, 10), 10: (10, 15)}.items():
        save = np.savez_compressed if number == 2 else np.savez
        write_shard(folder / f"train_data_batch_{number}.npz", images[start:stop], labels[start:stop], save=save)
    return folder, images, classes.from_npz_labels(labels)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two splits of three synsets, two images each."""
    root = tmp_path / "tree"
    for split in ("train", "val"):
        for synset in SYNSETS:
            (root / split / synset).mkdir(parents=True)
            for i in range(2):
                photo(20, 16, seed=i).save(root / split / synset / f"{synset}_{i}.JPEG")
    return root


# What holds for every kind


@pytest.fixture(params=list(READERS))
def opened(request: pytest.FixtureRequest) -> ImageSource:
    if request.param == "digits":
        return open_images("digits")
    if request.param == "imagenet-npz":
        return open_images("imagenet-npz", request.getfixturevalue("packed")[0])
    return open_images("folder", request.getfixturevalue("tree"), 8)


def test_every_kind_gives_rows_in_the_order_asked_for(opened: ImageSource) -> None:
    n = len(opened)
    everything = opened.read(range(n))
    assert everything.shape == (n, opened.channels, opened.resolution, opened.resolution)
    assert everything.dtype == np.uint8
    order = [*np.random.default_rng(0).permutation(n).tolist(), 0, 0]
    assert np.array_equal(opened.read(order), everything[order])
    assert np.array_equal(opened.read(np.array(order, np.uint16)), everything[order])
    assert opened.read([]).shape == (0, *everything.shape[1:])


def test_every_kind_names_its_rows(opened: ImageSource) -> None:
    assert opened.labels.dtype == np.int64
    assert len(opened.labels) == len(opened.ids) == len(set(opened.ids)) == len(opened)
    assert [str(name) for name in opened.ids[:3]] == ["real/0", "real/1", "real/2"]
    assert len({opened.original_path(i) for i in range(len(opened))}) == len(opened)
    assert opened.labels.min() >= 0
    assert opened.labels.max() < len(opened.class_names)
    assert opened.unreadable == []
    assert opened.synsets is None or len(opened.synsets) == len(opened.class_names)
    assert f"{opened.resolution}x{opened.resolution}" in opened.preprocessing


def test_what_a_caller_does_to_a_batch_does_not_reach_the_source(opened: ImageSource) -> None:
    before = opened.read([1])
    opened.read([1])[:] = 0
    assert np.array_equal(opened.read([1]), before)


def test_rows_that_are_not_there_are_refused(opened: ImageSource) -> None:
    n = len(opened)
    with pytest.raises(ValueError, match=rf"indices holds {n}; this set has {n} images: use 0..{n - 1}"):
        opened.read([0, n])
    with pytest.raises(ValueError, match="indices holds -1"):
        opened.read([-1])
    with pytest.raises(ValueError, match=r"flat list of whole row numbers"):
        opened.read(np.ones(n, bool))
    with pytest.raises(ValueError, match="indices holds"):
        opened.original_path(n)


@pytest.mark.parametrize("resolution", [0, -8, 5000])
def test_an_impossible_resolution_is_refused(opened: ImageSource, resolution: int, tree: Path) -> None:
    with pytest.raises(ValueError, match=rf"resolution {resolution} is not a side length"):
        open_images("folder", tree, resolution)
    with pytest.raises(ValueError, match=rf"resolution {resolution} is not a side length"):
        open_images("digits", None, resolution)


def test_unknown_kinds_options_and_missing_paths_are_refused() -> None:
    with pytest.raises(ValueError, match="kind 'tfrecord' is unknown; use digits, imagenet-npz, folder"):
        open_images("tfrecord")
    with pytest.raises(ValueError, match="option 'splitt' is not one of 'imagenet-npz' images; there: split, cache"):
        open_images("imagenet-npz", Path("anywhere"), splitt="train")
    with pytest.raises(ValueError, match="option 'split' is not one of 'digits' images; there: none at all"):
        open_images("digits", split="train")
    with pytest.raises(ValueError, match="path is missing"):
        open_images("folder")


# Digits


def test_digits_are_scaled_to_bytes_by_rounding() -> None:
    digits = open_images("digits", None)
    assert (len(digits), digits.channels, digits.resolution) == (1797, 1, 8)
    assert digits.class_names == list("0123456789")
    original = load_digits()
    assert np.array_equal(digits.labels, original.target)
    scale = {0: 0, 1: 16, 2: 32, 8: 128, 15: 239, 16: 255}  # by hand: round(v * 255 / 16), 127.5 to the even 128
    for value, byte in scale.items():
        assert (digits.read(range(1797))[:, 0][original.images == value] == byte).all()


def test_digits_shrink_by_a_plain_mean() -> None:
    native = open_images("digits").read([0, 5]).astype(float)
    small = open_images("digits", None, 4)
    assert "box 4x4" in small.preprocessing
    assert (
        np.abs(small.read([0, 5]) - native.reshape(2, 1, 4, 2, 4, 2).mean((3, 5))).max() <= 1.0
    )  # two passes, two roundings
    assert "lanczos 16x16" in open_images("digits", None, 16).preprocessing


# Packed files


def test_packed_rows_follow_the_numbers_of_their_files(packed: tuple[Path, np.ndarray, np.ndarray]) -> None:
    folder, images, labels = packed
    opened = open_images("imagenet-npz", folder)
    assert np.array_equal(opened.read(range(15)), images)
    assert np.array_equal(opened.labels, labels)
    assert opened.original_path(9).endswith("train_data_batch_2.npz#5")
    assert opened.original_path(10).endswith("train_data_batch_10.npz#0")
    assert (opened.source, opened.channels, opened.resolution) == ("imagenet_real_npz", 3, 8)
    assert (opened.class_names[0], opened.synsets and opened.synsets[0]) == ("tench", "n01440764")


@settings(max_examples=30)
@given(rows=st.lists(st.integers(0, 14), min_size=1, max_size=40))
def test_any_rows_of_packed_files_equal_those_of_the_whole_array(
    rows: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    images = pixels(15)
    for number, (start, stop) in {1: (0, 7), 2: (7, 15)}.items():
        write_shard(folder / f"train_data_batch_{number}.npz", images[start:stop], np.full(stop - start, 449))
    assert np.array_equal(open_images("imagenet-npz", folder).read(rows), images[rows])


@pytest.mark.parametrize("layout", ["planes", "chw", "hwc"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_layout_gives_the_same_planes(tmp_path: Path, layout: str, save: Callable[..., None]) -> None:
    images = pixels(5, side=9)
    write_shard(tmp_path / "val_data.npz", images, np.full(5, 449), layout=layout, save=save)
    opened = open_images("imagenet-npz", tmp_path)
    assert np.array_equal(opened.read(range(5)), images)
    assert opened.read([1]).flags.c_contiguous
    assert opened.labels.tolist() == [0] * 5


def test_the_split_is_chosen_by_name_and_train_comes_first(packed: tuple[Path, np.ndarray, np.ndarray]) -> None:
    folder, _, _ = packed
    write_shard(folder / "val_data.npz", pixels(2, seed=9), np.array([449, 450]))
    assert len(open_images("imagenet-npz", folder)) == 15
    val = open_images("imagenet-npz", folder, split="val")
    assert val.labels.tolist() == [0, 1]
    assert np.array_equal(val.read([1]), pixels(2, seed=9)[1:])
    assert len(open_images("imagenet-npz", folder / "train_data_batch_10.npz")) == 5


@pytest.mark.parametrize(
    ("resolution", "name"), [(4, "box 4x4|box to 4x4"), (6, "lanczos to 6x6"), (16, "lanczos to 16x16")]
)
def test_packed_images_are_resized_like_pillow_does_and_the_record_says_how(
    packed: tuple[Path, np.ndarray, np.ndarray], resolution: int, name: str
) -> None:
    folder, images, _ = packed
    opened = open_images("imagenet-npz", folder, resolution)
    how = Image.Resampling.BOX if "box" in name else Image.Resampling.LANCZOS
    expected = [
        np.asarray(Image.fromarray(image.transpose(1, 2, 0)).resize((resolution, resolution), how)).transpose(2, 0, 1)
        for image in images
    ]
    assert np.array_equal(opened.read(range(15)), np.stack(expected))
    assert name.split("|")[-1] in opened.preprocessing


def test_opening_reads_no_pixels_and_deflated_files_are_unpacked_once(
    packed: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, images, _ = packed
    unpacked = []
    real = archive_module.unpack
    monkeypatch.setattr(archive_module, "unpack", lambda path, *rest: (unpacked.append(path.name), real(path, *rest)))
    opened = open_images("imagenet-npz", folder, cache=tmp_path / "cache")
    opened.read([0, 12])
    assert not unpacked
    opened.read([5])
    for again in (opened, open_images("imagenet-npz", folder, cache=tmp_path / "cache")):
        assert np.array_equal(again.read(range(15)), images)
    assert unpacked == ["train_data_batch_2.npz"]
    assert not (folder / ".modescope").exists()
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 1


def test_the_index_is_kept_and_made_again_when_a_file_changes(
    packed: tuple[Path, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, images, _ = packed
    open_images("imagenet-npz", folder).read(range(15))
    scanned = []
    real = archive_module.member
    monkeypatch.setattr(archive_module, "member", lambda path, name: (scanned.append(path), real(path, name))[1])
    assert len(open_images("imagenet-npz", folder)) == 15
    assert not scanned
    write_shard(folder / "train_data_batch_2.npz", images[:3], np.full(3, 449), save=np.savez_compressed)
    changed = open_images("imagenet-npz", folder)
    assert len(scanned) == 3
    assert np.array_equal(changed.read(range(4, 7)), images[:3])
    assert len(list((folder / ".modescope").glob("*.npy"))) == 1  # what was unpacked before is gone


def test_a_damaged_index_is_made_again(packed: tuple[Path, np.ndarray, np.ndarray]) -> None:
    folder, images, _ = packed
    open_images("imagenet-npz", folder)
    (index,) = (folder / ".modescope").glob("*.index.safetensors")
    index.write_bytes(index.read_bytes()[:50])
    assert np.array_equal(open_images("imagenet-npz", folder).read([14]), images[14:])


def test_unpack_does_it_ahead_of_time(packed: tuple[Path, np.ndarray, np.ndarray]) -> None:
    folder, _, _ = packed
    open_images("imagenet-npz", folder).unpack()  # type: ignore[attr-defined]
    assert len(list((folder / ".modescope").glob("train_data_batch_2.*.npy"))) == 1


def test_rows_asked_for_ahead_are_the_same_rows(tmp_path: Path) -> None:
    content = np.random.default_rng(0).integers(0, 256, 100 + 50 * 777, dtype=np.uint8)
    (tmp_path / "file").write_bytes(content.tobytes())
    mapped = MappedRows(tmp_path / "file", offset=100, rows=50, width=777)
    rows = np.array([49, 0, 7, 7])
    mapped.prefetch(rows)
    fetch_ahead([(mapped, rows)])
    assert np.array_equal(mapped.values[rows], content[100:].reshape(50, 777)[rows])


def test_packed_folders_without_the_files_or_the_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere is not there; give the folder with"):
        open_images("imagenet-npz", tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds neither train_data_batch_<n>.npz nor val_data.npz"):
        open_images("imagenet-npz", tmp_path)
    write_shard(tmp_path / "val_data.npz", pixels(1), np.array([449]))
    with pytest.raises(ValueError, match=r"split 'train' is not in .*; there: val"):
        open_images("imagenet-npz", tmp_path, split="train")
    with pytest.raises(ValueError, match="split 'test' is unknown; packed ImageNet has train and val"):
        open_images("imagenet-npz", tmp_path, split="test")


@pytest.mark.parametrize("label", [0, 1001])
def test_packed_labels_outside_the_thousand_name_the_file(tmp_path: Path, label: int) -> None:
    write_shard(tmp_path / "val_data.npz", pixels(2), np.array([1, label]))
    with pytest.raises(ValueError, match=rf"val_data.npz: npz label {label} \(row 1\) is outside 1..1000"):
        open_images("imagenet-npz", tmp_path)


@pytest.mark.parametrize(
    "data",
    [
        np.zeros((2, 3 * 64 + 1), np.uint8),
        np.zeros((2, 3 * 7 * 7), np.uint8),
        np.zeros((2, 3, 8, 9), np.uint8),
        np.zeros((2, 3 * 64), np.float32),
        np.zeros(2, np.uint8),
    ],
)
def test_arrays_that_are_not_packed_images_are_refused(tmp_path: Path, data: np.ndarray) -> None:
    np.savez(tmp_path / "val_data.npz", data=data, labels=np.array([1, 2]))
    with pytest.raises(ValueError, match=r"val_data.npz: data is .*; packed images are uint8 \(N, 3\*S\*S\)"):
        open_images("imagenet-npz", tmp_path)


def test_labels_that_do_not_match_the_images_are_refused(tmp_path: Path) -> None:
    write_shard(tmp_path / "val_data.npz", pixels(3), np.array([1, 2]))
    with pytest.raises(ValueError, match="labels are int64 and 2, images 3; each needs one whole number"):
        open_images("imagenet-npz", tmp_path)
    np.savez(tmp_path / "val_data.npz", data=pixels(3))
    with pytest.raises(ValueError, match=r"holds no array 'labels' \(it holds data\)"):
        open_images("imagenet-npz", tmp_path)


def test_files_of_different_sizes_are_not_mixed(tmp_path: Path) -> None:
    write_shard(tmp_path / "train_data_batch_1.npz", pixels(2), np.array([1, 2]))
    write_shard(tmp_path / "train_data_batch_2.npz", pixels(2, side=16), np.array([1, 2]))
    with pytest.raises(ValueError, match=r"mixes layouts or sizes .*keep each size in a folder of its own"):
        open_images("imagenet-npz", tmp_path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_a_truncated_packed_file_is_named(tmp_path: Path, save: Callable[..., None], part: float) -> None:
    path = tmp_path / "val_data.npz"
    write_shard(path, pixels(20), np.full(20, 449), save=save)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(ValueError, match=r"val_data.npz cannot be read as .npz .*download or copy it again"):
        open_images("imagenet-npz", tmp_path)


def test_damage_inside_a_deflated_file_shows_when_unpacking_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "val_data.npz"
    write_shard(path, np.zeros((500, 3, 8, 8), np.uint8), np.full(500, 449), save=np.savez_compressed)
    damaged = bytearray(path.read_bytes())
    damaged[180:200] = os.urandom(20)
    path.write_bytes(bytes(damaged))
    with pytest.raises(ValueError, match=r"val_data.npz cannot be read as .npz"):
        open_images("imagenet-npz", tmp_path).read([499])
    assert not list(tmp_path.rglob("*.npy"))
    assert not list(tmp_path.rglob("*.part"))


def test_arrays_of_python_objects_are_never_loaded(tmp_path: Path) -> None:
    objects = np.empty(2, object)
    np.savez(tmp_path / "val_data.npz", data=objects, labels=np.array([1, 2]))
    with pytest.raises(ValueError, match="array 'data' holds Python objects, which are never loaded"):
        open_images("imagenet-npz", tmp_path)


def test_arrays_stored_column_by_column_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "val_data.npz", data=np.asfortranarray(pixels(2).reshape(2, -1)), labels=np.array([1, 2]))
    with pytest.raises(ValueError, match=r"Fortran order.*save it again through np.ascontiguousarray"):
        open_images("imagenet-npz", tmp_path)


def test_unpacking_needs_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_shard(tmp_path / "val_data.npz", pixels(2), np.array([1, 2]), save=np.savez_compressed)
    full = type("Usage", (), {"free": 10})
    monkeypatch.setattr(archive_module.shutil, "disk_usage", lambda _: full)
    with pytest.raises(ValueError, match=r"0.0 GB free.*give another folder as cache"):
        open_images("imagenet-npz", tmp_path).read([0])


# Folders of files


def test_synset_folders_get_standard_indices(tree: Path) -> None:
    opened = open_images("folder", tree, 8, split="val")
    assert opened.labels.tolist() == [0, 0, 134, 134, 517, 517]
    assert (opened.class_names[134], opened.source) == ("crane", "imagenet_real_folder")
    assert opened.synsets is not None
    assert opened.synsets[517] == "n03126707"
    assert opened.original_path(2) == str(tree / "val/n02012849/n02012849_0.JPEG")


def test_the_split_level_may_be_left_out(tree: Path) -> None:
    assert open_images("folder", tree, 8).original_path(0).startswith(str(tree / "train"))
    assert np.array_equal(
        open_images("folder", tree / "val", 8).read(range(6)),
        open_images("folder", tree, 8, split="val").read(range(6)),
    )


def test_folders_of_ones_own_are_numbered_in_sorted_order(tmp_path: Path) -> None:
    for name, suffix in {"zebra": ".png", "ant": ".jpg", "Moth": ".WEBP"}.items():
        (tmp_path / name).mkdir()
        photo(8, 8).save(tmp_path / name / f"one{suffix}")
        (tmp_path / name / "notes.txt").write_text("not an image")
    (tmp_path / ".hidden").mkdir()
    opened = open_images("folder", tmp_path)
    assert opened.class_names == ["Moth", "ant", "zebra"]
    assert opened.labels.tolist() == [0, 1, 2]
    assert (opened.source, opened.synsets, opened.resolution) == ("folder", None, 8)
    assert np.array_equal(opened.read([2])[0], np.asarray(photo(8, 8)).transpose(2, 0, 1))


def test_center_crop_cuts_the_square_before_resizing(tmp_path: Path) -> None:
    """As EDM's data tool: rows and columns (side - short) // 2 onward, then LANCZOS."""
    (tmp_path / "a").mkdir()
    wide = photo(33, 20)
    wide.save(tmp_path / "a" / "wide.png")
    values = np.asarray(wide)[:, (33 - 20) // 2 : (33 + 20) // 2]
    expected = np.asarray(Image.fromarray(values).resize((8, 8), Image.Resampling.LANCZOS)).transpose(2, 0, 1)
    opened = open_images("folder", tmp_path, 8)
    assert np.array_equal(opened.read([0])[0], expected)
    assert opened.preprocessing == "upright by EXIF, center-crop lanczos 8x8"


def test_squash_filter_and_flip_do_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    wide = photo(32, 16)
    wide.save(tmp_path / "a" / "wide.png")
    opened = open_images("folder", tmp_path, 8, preprocessing="squash", filter="box", flip=True)
    means = np.asarray(wide).reshape(8, 2, 8, 4, 3).mean((1, 3)).transpose(2, 0, 1)[:, :, ::-1]
    assert np.abs(opened.read([0])[0] - means).max() <= 1.0  # Pillow rounds after each of its two passes
    assert opened.preprocessing == "upright by EXIF, squash box 8x8, mirrored"


def write_odd_files(folder: Path) -> dict[str, np.ndarray]:
    """One flat 12 x 8 image per mode => the RGB colour that must come out."""
    folder.mkdir(parents=True)
    size, expected = (12, 8), {}

    def add(name: str, image: Image.Image, colour: tuple[int, int, int], **options: object) -> None:
        image.save(folder / name, **options)
        expected[name] = np.array(colour)

    add("gray.png", Image.new("L", size, 77), (77, 77, 77))
    add("bits.png", Image.new("1", size, 1), (255, 255, 255))
    add("gray-alpha.png", Image.new("LA", size, (77, 10)), (77, 77, 77))
    add("rgba.png", Image.new("RGBA", size, (1, 2, 3, 4)), (1, 2, 3))
    add("deep.png", Image.fromarray(np.full((8, 12), 257 * 200, np.uint16)), (200, 200, 200))
    add("cmyk.jpg", Image.new("CMYK", size, (255, 0, 0, 0)), (0, 255, 255))
    palette = Image.new("P", size, 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    add("palette.png", palette, (10, 20, 30))
    add("palette-alpha.png", palette, (10, 20, 30), transparency=b"\xff\x80")
    return expected


def test_every_colour_mode_comes_out_as_rgb(tmp_path: Path) -> None:
    expected = write_odd_files(tmp_path / "odd")
    opened = open_images("folder", tmp_path, 4)
    assert opened.unreadable == []
    for i in range(len(opened)):
        name = Path(opened.original_path(i)).name
        tolerance = 2 if name.endswith(".jpg") else 0
        difference = opened.read([i])[0].astype(int) - expected[name][:, None, None]
        assert np.abs(difference).max() <= tolerance, name


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_stand_upright_whatever_their_exif_orientation(tmp_path: Path, orientation: int) -> None:
    """The stored pixels are the upright ones, moved back by what each orientation means (EXIF 2.3, tag 0x0112)."""
    upright = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "a").mkdir()
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a" / "turned.png", exif=exif)
    opened = open_images("folder", tmp_path, 4)
    assert np.array_equal(opened.read([0])[0], upright[:, 1:5].transpose(2, 0, 1))


@pytest.fixture
def damaged(tree: Path) -> Path:
    """The train split, of which the files 0, 2 and 5 cannot be read; 4 has bytes after its end but is whole."""
    files = sorted((tree / "train").rglob("*.JPEG"))
    files[0].write_bytes(files[0].read_bytes()[:-120])
    files[2].write_text("no image")
    files[4].write_bytes(files[4].read_bytes() + b"trailing")
    files[5].write_bytes(b"")
    return tree


@pytest.mark.parametrize("check", ["header", "decode"])
def test_unreadable_files_are_listed_and_the_rest_keeps_its_ids(damaged: Path, check: str) -> None:
    opened = open_images("folder", damaged, 8, check=check)
    assert opened.ids.tolist() == ["real/1", "real/3", "real/4"]
    assert opened.labels.tolist() == [0, 134, 517]
    assert opened.read(range(3)).shape == (3, 3, 8, 8)
    listed = opened.unreadable
    assert [Path(path).name for path, _ in listed] == ["n01440764_0.JPEG", "n02012849_0.JPEG", "n03126707_1.JPEG"]
    assert "truncated" in listed[0][1]
    assert all(reason for _, reason in listed)


def test_strict_makes_an_unreadable_file_an_error(damaged: Path) -> None:
    with pytest.raises(ValueError, match=r"3 files under .* the first .*n01440764_0.JPEG .*truncated.*strict=False"):
        open_images("folder", damaged, 8, strict=True)


def test_truncated_png_and_webp_are_found_at_opening(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("cut.png", "cut.webp", "whole.png"):
        photo(40, 40).save(tmp_path / "a" / name)
        if name.startswith("cut"):
            (tmp_path / "a" / name).write_bytes((tmp_path / "a" / name).read_bytes()[:-500])
    opened = open_images("folder", tmp_path)
    assert [Path(path).name for path, _ in opened.unreadable] == ["cut.png", "cut.webp"]
    assert len(opened.read([0])) == 1


def test_a_file_that_fails_after_opening_is_an_error_and_never_made_up(tree: Path) -> None:
    opened = open_images("folder", tree, 8)
    Path(opened.original_path(3)).write_bytes(b"gone")
    assert opened.read([0, 1, 2]).shape[0] == 3
    with pytest.raises(ValueError, match=r"n02012849_1.JPEG cannot be read .*check='decode'"):
        opened.read([0, 3])


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_pixels_do_not_depend_on_the_number_of_threads(tree: Path, workers: int) -> None:
    expected = open_images("folder", tree, 8).read(range(6))
    assert np.array_equal(open_images("folder", tree, 8, workers=workers).read(range(6)), expected)


def test_a_told_cache_spares_looking_at_unchanged_files(
    damaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    real = folder_module.examine
    monkeypatch.setattr(folder_module, "examine", lambda path, check: (looked.append(path.name), real(path, check))[1])
    first = open_images("folder", damaged, 8, cache=tmp_path / "cache")
    assert len(looked) == 6
    looked.clear()
    again = open_images("folder", damaged, 8, cache=tmp_path / "cache")
    assert len(looked) == 3  # only what could not be read is tried again
    assert again.ids.tolist() == first.ids.tolist()
    looked.clear()
    photo(20, 16).save(damaged / "train" / "n02012849" / "n02012849_0.JPEG")
    photo(20, 16).save(damaged / "train" / "n01440764" / "another.JPEG")
    repaired = open_images("folder", damaged, 8, cache=tmp_path / "cache")
    assert sorted(looked) == ["another.JPEG", "n01440764_0.JPEG", "n02012849_0.JPEG", "n03126707_1.JPEG"]
    assert repaired.ids.tolist() == ["real/0", "real/2", "real/3", "real/4", "real/5"]
    (stored,) = (tmp_path / "cache").rglob("*.parquet")
    stored.write_bytes(stored.read_bytes()[:40])
    assert open_images("folder", damaged, 8, cache=tmp_path / "cache").ids.tolist() == repaired.ids.tolist()


def test_nothing_is_written_beside_a_small_folder(tree: Path) -> None:
    before = sorted(tree.rglob("*"))
    open_images("folder", tree, 8).read(range(6))
    assert sorted(tree.rglob("*")) == before


def test_native_resolution_needs_squares_of_one_size(tree: Path) -> None:
    with pytest.raises(ValueError, match=r"not all squares of one size \(1 sizes: 20x16, ...\); give resolution"):
        open_images("folder", tree)


def test_missing_folders_splits_and_images_are_refused(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere is not a folder; give the one that holds the class folders"):
        open_images("folder", tmp_path / "nowhere", 8)
    with pytest.raises(ValueError, match=r"split 'test' is not in .*; there: train, val"):
        open_images("folder", tree, 8, split="test")
    with pytest.raises(ValueError, match="holds no class folders; put the images of each class in a folder"):
        open_images("folder", tree / "val" / SYNSETS[0], 8)
    (tmp_path / "empty" / "a").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"its 1 folders hold no image \(.jpeg, .jpg, .png, .webp\)"):
        open_images("folder", tmp_path / "empty", 8)
    (tmp_path / "empty" / "a" / "bad.png").write_text("no image")
    with pytest.raises(ValueError, match=r"none of its files can be read .*bad.png"):
        open_images("folder", tmp_path / "empty", 8)


def test_a_folder_outside_the_thousand_synsets_is_refused_among_synsets(tree: Path) -> None:
    (tree / "val" / "n00000001").mkdir()
    with pytest.raises(ValueError, match=r"folders n00000001 \(1 in all\) are not among ImageNet's 1000 synsets"):
        open_images("folder", tree, 8, split="val")


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"preprocessing": "stretch"}, "preprocessing 'stretch' is unknown; use center-crop or squash"),
        ({"check": "none"}, "check 'none' is unknown; use header or decode"),
        ({"filter": "cubic"}, "filter 'cubic' is unknown; use lanczos, box"),
        ({"workers": 0}, "workers 0 is below 1"),
    ],
)
def test_unknown_ways_of_reading_are_refused(tree: Path, option: dict[str, object], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        open_images("folder", tree, 8, **option)
