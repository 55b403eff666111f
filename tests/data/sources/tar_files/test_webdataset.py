"""Tar files: the same images as from a folder, and everything that can be wrong with them."""

import io
import subprocess
import tarfile
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from latentbench.data import DataError, load
from latentbench.data.reading.prompted import PromptedImageData
from latentbench.data.sources.tar_files.webdataset import expanded, tar_sources

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), dtype=np.uint8)


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


def add(tar, name, content):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def write_shards(folder, count=3, *, labels=True, names=lambda index: f"s{index:07}"):
    """60 images in tar files, dealt in order; their classes are 0, 1, 2, 0, …"""
    folder.mkdir(parents=True, exist_ok=True)
    for shard in range(count):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for index in range(shard * 60 // count, (shard + 1) * 60 // count):
                add(tar, f"{names(index)}.png", png(PIXELS[index]))
                if labels:
                    add(tar, f"{names(index)}.cls", str(index % 3).encode())
    return folder


def test_tar_files_hold_what_a_folder_holds(tmp_path):
    for index, pixels in enumerate(PIXELS):
        file = tmp_path / "photos" / "abc"[index % 3] / f"{index}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(pixels))
    write_shards(tmp_path / "shards", names=lambda index: f"{'abc'[index % 3]}/{index}")
    (tmp_path / "shards" / "classnames.txt").write_text("a\nb\nc\n")
    from_folder = load(f"folder:{tmp_path}/photos?size=16")
    from_tars = load(f"wds:{tmp_path}/shards/{{0..2}}.tar?size=16")
    assert from_tars.fingerprint == from_folder.fingerprint
    assert from_tars.classes == ("a", "b", "c")
    assert from_tars.notes == ()


def test_templates_without_class_names_are_refused(tmp_path):
    shards = write_shards(tmp_path / "test")
    (tmp_path / "zeroshot_classification_templates.txt").write_text("a {c}")
    for place in (tmp_path, f"{shards}/{{0..2}}.tar"):
        with pytest.raises(DataError, match=r"templates\.txt: has templates, but .* no classnames\.txt"):
            load(f"wds:{place}")


def one_process_loader(loader, *args, num_workers, **options):
    return loader(*args, **options)


def test_files_that_clip_benchmark_writes_are_read(tmp_path):
    builder = pytest.importorskip("clip_benchmark.webdataset_builder")

    class Images(torch.utils.data.Dataset):
        classes = ("ant", "bee", "cat")
        templates = ("a photo of a {c}.", "the {c}")

        def __len__(self):
            return 12

        def __getitem__(self, index):
            return Image.fromarray(PIXELS[index]), index % 3

    with pytest.MonkeyPatch.context() as patch:
        loader = partial(one_process_loader, torch.utils.data.DataLoader)
        patch.setattr(torch.utils.data, "DataLoader", loader)
        to_webp = builder.PIL_to_bytes("webp")
        builder.convert_dataset(
            Images(), "test", str(tmp_path), transform=to_webp, max_count=5, verbose=False
        )
    data = load(f"wds:{tmp_path}?size=16")
    assert isinstance(data, PromptedImageData)
    assert data.classes == ("ant", "bee", "cat")
    assert data.templates == ("a photo of a {}.", "the {}")
    assert data.test.labels.tolist() == [index % 3 for index in range(12)]
    assert (data.test.images.permute(0, 2, 3, 1).numpy() == PIXELS[:12]).all()
    assert load(f"wds:{tmp_path}/test/{{0..2}}.tar?size=16").fingerprint == data.fingerprint


def test_all_images_of_tar_files_without_splits_can_be_measured(tmp_path):
    assert len(load(f"wds:{write_shards(tmp_path)}?size=16&split=all").test) == 60
    with pytest.raises(DataError, match=f"{tmp_path}: unknown split 'val'.* Known: train, test, all"):
        load(f"wds:{tmp_path}?split=val")


def test_folders_of_splits_are_recognised(tmp_path):
    write_shards(tmp_path / "train")
    write_shards(tmp_path / "Validation", 1)
    data = load(f"wds:{tmp_path}?size=16")
    assert (len(data.train), len(data.test)) == (60, 60)
    assert load(f"wds:{tmp_path}?size=16&split=val").test_only
    with pytest.raises(DataError, match="unknown split 'tset'; known: train, validation"):
        load(f"wds:{tmp_path}?split=tset")


def test_a_path_is_looked_up_next_to_the_suite(tmp_path):
    write_shards(tmp_path / "shards")
    assert len(tar_sources("shards/*.tar", relative_to=tmp_path).train) > 30


def test_a_missing_tar_file_is_named_and_the_others_read(tmp_path):
    write_shards(tmp_path)
    (tmp_path / "1.tar").unlink()
    data = load(f"wds:{tmp_path}/{{0..2}}.tar?size=16")
    assert len(data.train) + len(data.test) == 40
    assert data.notes == ("missing tar files, 1 of 3: 1.tar",)
    with pytest.raises(DataError, match="no such tar files; give a path such as"):
        load(f"wds:{tmp_path}/{{5..7}}.tar")


def test_a_count_of_shards_tells_of_missing_ones(tmp_path):
    write_shards(tmp_path / "test")
    (tmp_path / "test" / "nshards.txt").write_text("5\n")
    assert load(f"wds:{tmp_path}?size=16").notes == ("missing tar files, 2 of 5: 3.tar, 4.tar",)


@pytest.mark.parametrize("share", [0.0, 0.02, 0.45, 0.5, 0.7, 0.77])
def test_a_tar_file_cut_off_keeps_what_comes_before(tmp_path, share):
    write_shards(tmp_path)
    whole = load(f"wds:{tmp_path}/*.tar?size=16")
    file = tmp_path / "1.tar"
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    data = load(f"wds:{tmp_path}/*.tar?size=16")
    count = len(data.train) + len(data.test)
    assert 40 <= count < 60
    note = next(note for note in data.notes if "damaged" in note)
    assert note.startswith("damaged tar files, read up to the damage, 1 of 3: 1.tar (")
    known = {image.numpy().tobytes() for part in (whole.train, whole.test) for image in part.images}
    assert all(image.numpy().tobytes() in known for part in (data.train, data.test) for image in part.images)


def test_a_file_that_is_no_tar_file_is_named(tmp_path):
    write_shards(tmp_path)
    (tmp_path / "2.tar").write_text("<html>not found</html>" * 100)
    data = load(f"wds:{tmp_path}/*.tar?size=16")
    assert len(data.train) + len(data.test) == 40
    assert "2.tar (" in data.notes[0]


def test_a_compressed_tar_file_is_refused(tmp_path):
    write_shards(tmp_path, 1)
    subprocess.run(["gzip", tmp_path / "0.tar"], check=True)
    (tmp_path / "0.tar.gz").rename(tmp_path / "0.tar")
    with pytest.raises(DataError, match=r"0\.tar: is compressed with gzip; decompress it"):
        load(f"wds:{tmp_path}/0.tar")


def test_hard_links_are_read_and_other_links_are_named(tmp_path):
    """As `tar` writes them for files with several names, links and holes."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(3):
        (photos / f"{index}.png").write_bytes(png(PIXELS[index]))
    (photos / "same.png").hardlink_to(photos / "1.png")
    (photos / "link.png").symlink_to("1.png")
    with open(photos / "holes.png", "wb") as file:
        file.truncate(2**20)
    subprocess.run(["tar", "-S", "-cf", tmp_path / "0.tar", "-C", photos, "."], check=True)
    with tarfile.open(tmp_path / "0.tar", "a") as tar:
        link = tarfile.TarInfo("lost.png")
        link.type, link.linkname = tarfile.LNKTYPE, "nowhere.png"
        tar.addfile(link)
    data = load(f"wds:{tmp_path}/0.tar?size=16&split=all")
    pixels = [image.permute(1, 2, 0).numpy() for image in data.test.images]
    assert sum(np.array_equal(each, PIXELS[1]) for each in pixels) == 2
    assert len(pixels) == 4
    (note,) = data.notes
    assert note.startswith("3 entries that are not read: 1 ")
    for kind in ("symbolic links", "hard links without their file", "files with holes"):
        assert f"1 {kind}" in note
    assert note.endswith("(0.tar/holes.png, 0.tar/link.png, 0.tar/lost.png)")


def test_members_that_are_no_images_are_named(tmp_path):
    write_shards(tmp_path)
    with tarfile.open(tmp_path / "0.tar", "a") as tar:
        for name, content in (("empty", b""), ("text", b"no image"), ("torn", png(PIXELS[0])[:90])):
            add(tar, f"{name}.png", content)
            add(tar, f"{name}.cls", b"1")
        add(tar, "notes.json", b"{}")
    data = load(f"wds:{tmp_path}/*.tar?size=16")
    assert len(data.train) + len(data.test) == 60
    unread = next(note for note in data.notes if "cannot be read" in note)
    assert unread.startswith("3 of 63 files cannot be read as images, left out: ")
    assert all(name in unread for name in ("empty.png", "text.png", "torn.png"))
    assert "1 entry that is not read: 1 .json (0.tar/notes.json)" in data.notes


def test_labels_without_images_are_named(tmp_path):
    write_shards(tmp_path)
    with tarfile.open(tmp_path / "0.tar", "a") as tar:
        add(tar, "alone.cls", b"2")
        add(tar, "bare.png", png(PIXELS[0]))
    data = load(f"wds:{tmp_path}/*.tar?size=16")
    assert len(data.train) + len(data.test) == 60
    assert data.notes == (
        "1 label has no image, left out: 0.tar: alone",
        "1 image has no label, left out: bare.png",
    )


def test_tar_files_without_images_or_labels(tmp_path):
    write_shards(tmp_path / "bare", labels=False)
    data = load(f"wds:{tmp_path}/bare/*.tar?size=16")
    assert data.classes == ()
    assert data.train.labels is None
    with tarfile.open(tmp_path / "none.tar", "w") as tar:
        add(tar, "a.cls", b"1")
    with pytest.raises(DataError, match=r"no images in 1 tar file; 1 label has no image"):
        load(f"wds:{tmp_path}/none.tar")


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (b"3", r"s0000000\.png: label 3, but classnames.txt names 3"),
        (b"", "holds no label"),
        (b"\xff", "no label"),
    ],
)
def test_labels_that_are_refused(tmp_path, label, message):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        add(tar, "s0000000.png", png(PIXELS[0]))
        add(tar, "s0000000.cls", label)
    (tmp_path / "classnames.txt").write_text("a\nb\nc\n")
    with pytest.raises(DataError, match=message):
        load(f"wds:{tmp_path}/0.tar")


def test_other_tar_files_of_the_same_name_are_other_data(tmp_path):
    write_shards(tmp_path / "one" / "shards")
    write_shards(tmp_path / "two" / "shards")
    with tarfile.open(tmp_path / "two" / "shards" / "0.tar", "a") as tar:
        add(tar, "more.png", png(PIXELS[5]))
        add(tar, "more.cls", b"2")
    one, two = (
        load("wds:shards/*.tar?size=16", relative_to=tmp_path / name, mapped=True) for name in ("one", "two")
    )
    assert one.name == two.name
    assert one.fingerprint != two.fingerprint
    assert len(one.train) + len(one.test) == 60
    assert len(two.train) + len(two.test) == 61


def test_patterns_are_expanded_like_a_shells():
    assert expanded("a/{08..11}.tar") == [f"a/{number}.tar" for number in ("08", "09", "10", "11")]
    assert expanded("{x,y}-{1..2}") == ["x-1", "x-2", "y-1", "y-2"]
    assert expanded("plain.tar") == ["plain.tar"]
    with pytest.raises(DataError, match="more than 100,000 tar files"):
        expanded("{0..999999999}.tar")
