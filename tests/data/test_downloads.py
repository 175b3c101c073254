"""Sets from torchvision: where they are looked for, what they become, and that only `download` downloads.

Small files in the real formats stand in for the real sets; where torchvision holds files against the check sums of the
real ones, the test exchanges the sums.
"""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision import datasets

from workbench.config import UsageError
from workbench.data import data_root, download, load, present
from workbench.data.imageset import resize


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every attempt to reach a server is noted and fails."""
    attempts: list[str] = []

    def refuse(request: object, *_: object, **__: object) -> None:
        attempts.append(getattr(request, "full_url", str(request)))
        raise URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.delenv("WORKBENCH_DATA", raising=False)
    monkeypatch.setattr("workbench.data.imageset._known", {})
    return attempts


def idx(array: np.ndarray) -> bytes:
    head = struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def fashion_mnist(root: Path) -> dict[str, bytes]:
    """Writes both splits; label = image number modulo 10, image = its number. Returns the files by name."""
    contents = {}
    for part, n in (("train", 30), ("t10k", 20)):
        images = np.broadcast_to(np.arange(n)[:, None, None], (n, 28, 28))
        contents |= {f"{part}-images-idx3-ubyte": idx(images), f"{part}-labels-idx1-ubyte": idx(np.arange(n) % 10)}
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, content in contents.items():
        (raw / name).write_bytes(content)
    return contents


def cifar(root: Path, name: str, folder: str, files: list[str], labels: str, meta: tuple[str, str, int]) -> None:
    """Each file holds four images, red = 50 times the file's number, and labels that count on."""
    (root / folder).mkdir(parents=True)
    for k, file in enumerate(files):
        rows = np.zeros((4, 3, 32, 32), np.uint8)
        rows[:, 0], rows[:, 1, :16], rows[:, 2, :, :16] = 50 * k, 200, 100  # green above, blue at the left
        content = {"data": rows.reshape(4, -1), labels: [(4 * k + i) % meta[2] for i in range(4)]}
        (root / folder / file).write_bytes(pickle.dumps(content))
    names = [f"class {k}" for k in range(meta[2])]
    (root / folder / meta[0]).write_bytes(pickle.dumps({meta[1]: names}))


# ------------------------------------------------------------------------------------------------- what is read


def test_fashion_mnist(tmp_path: Path, no_network: list[str]) -> None:
    fashion_mnist(tmp_path)
    train, test = (load("fashion_mnist", split, root=tmp_path) for split in ("train", "test"))
    assert train.images.shape == (30, 1, 28, 28) and test.images.shape == (20, 1, 28, 28)
    assert train.images[:, 0, 5, 5].tolist() == list(range(30))
    assert test.labels.tolist() == [k % 10 for k in range(20)]
    assert train.classes[9] == "Ankle boot"
    assert train.mean == test.mean == pytest.approx((14.5 / 255,))
    assert load("fashion_mnist", "test", root=tmp_path, size=32).images.shape == (20, 1, 32, 32)
    assert no_network == []


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5=None: Path(path).is_file())
    if name == "cifar10":
        files = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]
        cifar(tmp_path, name, "cifar-10-batches-py", files, "labels", ("batches.meta", "label_names", 10))
    else:
        cifar(tmp_path, name, "cifar-100-python", ["train", "test"], "fine_labels", ("meta", "fine_label_names", 100))
    train, test = (load(name, split, root=tmp_path) for split in ("train", "test"))
    n = 20 if name == "cifar10" else 4
    assert train.images.shape == (n, 3, 32, 32) and train.images.is_contiguous()
    assert train.labels.tolist() == [k % 10 for k in range(n)]
    assert test.images[0, :, 0, 0].tolist() == [250 if name == "cifar10" else 50, 200, 100]
    assert test.images[0, :, 20, 0].tolist()[1:] == [0, 100] and test.images[0, :, 0, 20].tolist()[1:] == [200, 0]
    assert len(train.classes) == (10 if name == "cifar10" else 100) and train.classes[3] == "class 3"
    np.testing.assert_allclose(train.mean[1:], [100 / 255, 50 / 255])


def test_stl10_without_its_unlabelled_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.stl10.check_integrity", lambda path, md5=None: Path(path).is_file())
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    image = np.zeros((3, 96, 96), np.uint8)
    image[0, 10, 20], image[2] = 255, 7
    for split, n in (("train", 4), ("test", 6)):
        stored = np.broadcast_to(image.transpose(0, 2, 1), (n, 3, 96, 96))  # column after column
        (folder / f"{split}_X.bin").write_bytes(stored.tobytes())
        (folder / f"{split}_y.bin").write_bytes(bytes(range(1, n + 1)))
    (folder / "class_names.txt").write_text("\n".join(f"class {k}" for k in range(10)))
    for split, n in (("train", 4), ("test", 6)):
        found = load("stl10", split, root=tmp_path)
        assert torch.equal(found.images, torch.from_numpy(image).expand(n, -1, -1, -1))
        assert found.labels.tolist() == list(range(n)) and found.classes[9] == "class 9"
    assert datasets.STL10.train_list[-1][0] == "unlabeled_X.bin", "torchvision's own class must stay as it was"


def test_a_wished_size_is_made_from_the_files(tmp_path: Path) -> None:
    fashion_mnist(tmp_path)
    plain, larger = (load("fashion_mnist", "test", root=tmp_path, size=size) for size in (None, 56))
    assert torch.equal(larger.images, resize(plain.images, 56)) and larger.mean == plain.mean


# ------------------------------------------------------------------------------------------- where it is looked for


def test_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_root() == Path("data")
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path / "variable"))
    assert data_root() == tmp_path / "variable"
    assert data_root(tmp_path) == tmp_path
    fashion_mnist(tmp_path / "variable")
    assert present("fashion_mnist") and not present("fashion_mnist", tmp_path)
    assert len(load("fashion_mnist", "test")) == 20


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "fashion_mnist", "stl10"])
def test_a_missing_set_says_where_it_was_looked_for_and_how_to_get_it(
    name: str, tmp_path: Path, no_network: list[str]
) -> None:
    with pytest.raises(UsageError) as caught:
        load(name, "train", root=tmp_path / "there")
    text = str(caught.value)
    assert str(tmp_path / "there") in text and "WORKBENCH_DATA" in text and "\n" not in text
    assert f"'workbench data --download {name}'" in text and "data/README.md" in text
    assert no_network == [] and not (tmp_path / "there").exists(), "load must neither download nor make folders"


def test_a_damaged_set_is_no_crash(tmp_path: Path) -> None:
    fashion_mnist(tmp_path)
    (tmp_path / "FashionMNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03")
    with pytest.raises(
        UsageError, match=r"fashion_mnist in .* is damaged .*get it again with 'workbench data"
    ) as caught:
        load("fashion_mnist", "train", root=tmp_path)
    assert "\n" not in str(caught.value)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for file in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta"):
        (folder / file).write_bytes(b"not a pickle")
    with pytest.raises(UsageError, match=r"cifar10 in .* is damaged"):
        load("cifar10", "train", root=tmp_path)


# -------------------------------------------------------------------------------------------------------- downloads


def test_download_unpacks_what_lies_there_already(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[str]
) -> None:
    sums = []
    for name, content in fashion_mnist(tmp_path).items():
        path = tmp_path / "FashionMNIST" / "raw" / name
        path.unlink()
        packed = gzip.compress(content)
        path.with_name(f"{name}.gz").write_bytes(packed)
        sums.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(datasets.FashionMNIST, "resources", sums)
    with pytest.raises(UsageError, match="fashion_mnist is not in"):
        load("fashion_mnist", "train", root=tmp_path)
    assert download("fashion_mnist", tmp_path) == tmp_path
    assert len(load("fashion_mnist", "train", root=tmp_path)) == 30 and no_network == []


@pytest.mark.parametrize("name", ["cifar10", "fashion_mnist", "stl10"])
def test_a_failed_download_is_told_in_one_line(name: str, tmp_path: Path, no_network: list[str]) -> None:
    with pytest.raises(UsageError, match=f"{name} could not be downloaded to .*; copy it there by hand: ") as caught:
        download(name, tmp_path)
    assert "\n" not in str(caught.value) and no_network


def test_downloading_what_can_not_be_downloaded(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown data set that can be downloaded 'cifar'; did you mean 'cifar10'\?"):
        download("cifar", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="could not be downloaded"):
        download("cifar10", tmp_path / "file")
