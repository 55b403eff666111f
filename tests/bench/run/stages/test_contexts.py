"""A worker process opens the data of its run: from the file that holds them, or again from their source."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from latentbench import data as datasets
from latentbench.bench.run.stages.contexts import data_opener, open_context
from latentbench.data import DataError
from latentbench.data.request import DataRequest


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))


def test_a_relative_folder_is_looked_up_next_to_the_suite(tmp_path, monkeypatch):
    for name in ("a", "b"):
        (tmp_path / "suites" / "photos" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "suites" / "photos" / name / "1.png")
    (tmp_path / "suites" / "photos" / "classes.txt").write_text("a\nb\n")
    monkeypatch.chdir(tmp_path)
    request = DataRequest(folder="photos", size=8)
    data = datasets.load(request, relative_to=Path("suites"))
    context = open_context(data_opener(data, request, Path("suites")), "cpu", judged=False)
    assert context.data.name == "folder:photos?size=8"
    with pytest.raises(DataError, match=rf"photos: does not exist \(looked for in {tmp_path}\)"):
        open_context(data_opener(data, request, Path()), "cpu", judged=False)


def test_workers_map_decoded_images_and_do_not_decode(tmp_path):
    (tmp_path / "photos" / "test").mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(tmp_path / "photos" / "test" / "1.png")
    request = DataRequest(folder=str(tmp_path / "photos"), size=8)
    data = datasets.load(request, mapped=True)
    opener = data_opener(data, request, Path())
    (tmp_path / "photos" / "test" / "1.png").unlink()
    again = opener()
    assert again.test_only
    assert again.fingerprint == data.fingerprint
    assert torch.equal(again.test.images, data.test.images)
