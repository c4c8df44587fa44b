"""MNIST: reading, batches, errors."""

import gzip

import numpy as np
import pytest
import torch

from datamodules import MNIST
from datamodules.common.order import epoch_order
from tests.helpers.idx_digits import NAMES, digits, idx_bytes, write_digits
from tests.helpers.loaders import only, trainer
from tests.helpers.paths import DATA

SHARED = DATA / "mnist"


def ready(folder, **options):
    data = MNIST(str(folder), **options)
    data.setup()
    return data


@pytest.fixture
def folder(tmp_path):
    return write_digits(tmp_path / "mnist")


# ---- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("place", ["", "MNIST/raw", "raw"])
def test_images_are_those_of_the_files_divided_by_255(tmp_path, place, compressed):
    write_digits(tmp_path / place, compressed=compressed)
    data = ready(tmp_path, batch_size=23)
    images, labels = digits(23, 0)
    batch = only(data.train_dataloader())
    order = epoch_order(0, 0, 23)
    expected = images.reshape(23, -1)[order.numpy()] / 255
    np.testing.assert_allclose(batch["inputs"][0][0].numpy(), expected, rtol=1e-6)
    assert batch["targets"][0, 0].tolist() == labels[order.numpy()].tolist()
    assert (data.num_inputs, data.num_classes, data.vocab_size) == (12, 10, 0)
    assert data.image_shape == (4, 3)


def test_names_with_a_dot_and_files_beside_their_compressed_copies_are_read(folder):
    path = folder / "train-images-idx3-ubyte.gz"
    (folder / "train-images.idx3-ubyte").write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()
    labels = folder / "train-labels-idx1-ubyte"
    labels.write_bytes(gzip.decompress((folder / f"{labels.name}.gz").read_bytes()))
    assert MNIST(str(folder)).steps_per_epoch == 1


def test_a_data_set_of_the_library_is_read_like_files(tmp_path, folder):
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)}
    )
    for split, size, seed in (("train", 23, 0), ("test", 9, 1)):
        images, labels = digits(size, seed)
        table = {"image": list(images), "label": labels.tolist()}
        path = tmp_path / "hub" / f"{split}.parquet"
        path.parent.mkdir(exist_ok=True)
        datasets.Dataset.from_dict(table, features).to_parquet(str(path))
    of_library, of_files = MNIST(dataset=str(tmp_path / "hub")), MNIST(str(folder))
    for one, other in zip(of_library._parts(), of_files._parts(), strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.labels, other.labels)
    assert of_library.state_dict() == of_files.state_dict()


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs mnist in GLASSBOX_TEST_DATA")
def test_real_digits_have_the_published_counts():
    train, test = MNIST(str(SHARED))._parts()
    counts = [part.labels.bincount().tolist() for part in (train, test)]
    assert counts == [
        [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949],
        [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009],
    ]
    assert train.images.shape == (60_000, 28, 28)
    # The usual constants for standardization.
    pixels = train.images.float() / 255
    assert pixels.mean().item() == pytest.approx(0.1307, abs=1e-4)
    assert pixels.std().item() == pytest.approx(0.3081, abs=1e-4)


# ---- batches -------------------------------------------------------------------------------------


def test_an_epoch_has_every_image_once_per_seed_in_its_own_order(folder):
    data = ready(folder, batch_size=5, seeds=[4, 0])
    batch = only(data.train_dataloader())
    assert len(batch["inputs"]) == len(batch["targets"]) == data.steps_per_epoch == 5
    inputs = torch.stack(list(batch["inputs"]))  # (steps, S, B, pixels)
    assert inputs.shape == (5, 2, 5, 12)
    images, labels = digits(23, 0)
    pairs = zip(images, labels, strict=True)
    there_is = sorted((*image.flatten().tolist(), label) for image, label in pairs)
    for member in range(2):
        real = batch["targets"][:, member] != -100
        assert real[:-1].all() and real[-1].sum() == 3
        shown = (inputs[:, member][real] * 255).round().int().tolist()
        answers = batch["targets"][:, member][real].tolist()
        assert sorted((*i, t) for i, t in zip(shown, answers, strict=True)) == there_is
        alone = only(ready(folder, batch_size=5, seeds=[[4, 0][member]]).train_dataloader())
        assert torch.equal(torch.stack(list(alone["inputs"]))[:, 0], inputs[:, member])
        assert torch.equal(alone["targets"][:, 0], batch["targets"][:, member])
    assert not torch.equal(inputs[:, 0], inputs[:, 1])


def test_the_epoch_is_read_when_iteration_starts(folder):
    data = ready(folder, batch_size=23)
    loader = data.train_dataloader()
    data.trainer = trainer()
    first = only(loader)["targets"]
    data.trainer.current_epoch = 3
    later = only(loader)["targets"]
    labels = torch.from_numpy(digits(23, 0)[1].astype(np.int64))
    assert torch.equal(later[0, 0], labels[epoch_order(0, 3, 23)])
    assert not torch.equal(first, later)


def test_an_epoch_copies_no_image(folder):
    data = ready(folder, seeds=list(range(20)))
    batches = [only(data.train_dataloader())["inputs"] for _ in range(2)]
    assert batches[0].source.data_ptr() == batches[1].source.data_ptr()
    scored = next(iter(data.val_dataloader()))["inputs"]
    assert scored.shape[0] == 20 and scored.stride(0) == 0


@pytest.mark.parametrize(("num_train_eval", "train"), [(None, 23), (7, 7), (100, 23)])
@pytest.mark.parametrize("at_a_time", [4, 30, 10_000])
def test_test_images_and_some_training_images_are_evaluated_once(
    folder, monkeypatch, num_train_eval, train, at_a_time
):
    monkeypatch.setattr("datamodules.mnist._EVALUATED_AT_A_TIME", at_a_time)
    data = ready(folder, num_train_eval=num_train_eval, seeds=[1, 2])
    loader = data.val_dataloader()
    batches = list(loader)
    assert len(batches) == len(loader)
    assert len({batch["inputs"].shape for batch in batches}) == 1
    joined = {name: torch.cat([b[name] for b in batches], dim=1) for name in batches[0]}
    counted = joined["targets"][1] != -100
    assert counted.sum() == train + 9
    assert not joined["leaked"].any() and not joined["mirrored"].any()
    for is_test, (images, labels), size in ((False, digits(23, 0), train), (True, digits(9, 1), 9)):
        part = counted & (joined["is_test"][1] == is_test)
        shown = (joined["inputs"][1][part] * 255).round().int().tolist()
        assert shown == images.reshape(len(images), -1)[:size].tolist()
        assert joined["targets"][1][part].tolist() == labels[:size].tolist()


def test_standardized_training_pixels_have_mean_0_and_std_1_and_test_pixels_the_same_scale(
    folder,
):
    data = ready(folder, scaling="standardized", num_train_eval=None)
    batch = only(data.val_dataloader())
    train, test = digits(23, 0)[0] / 255, digits(9, 1)[0] / 255
    pixels, is_test = batch["inputs"][0].numpy(), batch["is_test"][0].numpy()
    assert pixels[~is_test].mean() == pytest.approx(0, abs=1e-6)
    assert pixels[~is_test].std() == pytest.approx(1, abs=1e-6)
    expected = (test - train.mean()) / train.std()
    np.testing.assert_allclose(pixels[is_test], expected.reshape(9, -1), rtol=1e-4, atol=1e-5)


def test_class_means_are_those_of_the_training_images(folder):
    data = ready(folder, num_train=15)
    images, labels = (array[:15] for array in digits(23, 0))
    for label, mean in enumerate(data.class_means()):
        chosen = images[labels == label].reshape(-1, 12)
        if len(chosen):
            np.testing.assert_allclose(mean.numpy(), chosen.mean(0) / 255, rtol=1e-5)
        else:
            assert mean.isnan().all()


def test_num_train_limits_the_training_images(folder):
    data = ready(folder, num_train=8, batch_size=3)
    shown = only(data.train_dataloader())["targets"]
    assert sorted(shown[shown >= 0].tolist()) == sorted(digits(23, 0)[1][:8].tolist())


# ---- errors --------------------------------------------------------------------------------------


def message(folder, **options):
    with pytest.raises(ValueError) as error:
        MNIST(str(folder), **options).setup()
    assert "\n" not in str(error.value)
    return str(error.value)


def replace(folder, content, array, part="train"):
    raw = array if isinstance(array, bytes) else gzip.compress(idx_bytes(array))
    path = folder / f"{NAMES[part, content]}.gz"
    path.write_bytes(raw)
    return path


def test_a_missing_folder_or_file_is_named(tmp_path, folder):
    assert str(tmp_path / "none") in message(tmp_path / "none")
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    assert "t10k-labels-idx1-ubyte" in message(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda whole: whole[:-20],
        lambda whole: b"<html>",
        lambda whole: b"",
        lambda whole: whole[:30] + b"x" * 40,
        lambda whole: gzip.compress(gzip.decompress(whole)[:-1]),
        lambda whole: gzip.compress(gzip.decompress(whole) + b"\0"),
        lambda whole: gzip.compress(gzip.decompress(whole)[:9]),
        lambda whole: gzip.compress(idx_bytes(digits(23, 0)[1])),  # labels
    ],
)
def test_a_damaged_file_is_named(folder, change):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(change(path.read_bytes()))
    assert message(folder).startswith(str(path))


def test_labels_that_do_not_match_the_images_are_errors(folder):
    images, labels = digits(23, 0)
    path = replace(folder, "labels", labels[:20])
    assert path.name in message(folder)
    labels[3] = 10
    replace(folder, "labels", labels)
    assert f"label 4 in {path} is 10" in message(folder)
    replace(folder, "images", images[:0]), replace(folder, "labels", labels[:0])
    assert "no images" in message(folder)
    replace(folder, "images", images), replace(folder, "labels", digits(23, 0)[1])
    replace(folder, "images", digits(9, 1, rows=5)[0], "t10k")
    assert "size" in message(folder)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batch_size", 0),
        ("num_train", 0),
        ("num_train", 24),
        ("num_train_eval", 0),
        ("scaling", "x"),
    ],
)
def test_options_out_of_range_are_errors(folder, option, value):
    assert f"{option} is" in message(folder, **{option: value})


def test_a_missing_data_set_of_the_library_is_named(tmp_path):
    pytest.importorskip("datasets")
    with pytest.raises(ValueError, match=str(tmp_path / "nothing")):
        MNIST(dataset=str(tmp_path / "nothing")).setup()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"batch_size": 7}, "batch_size"),
        ({"scaling": "standardized"}, "scaling"),
        ({"num_train": 5}, "training images"),
        ({"data_dir": "other"}, "training images"),
    ],
)
def test_resuming_with_other_images_is_an_error(tmp_path, folder, options, name):
    if "data_dir" in options:
        options = {"data_dir": str(write_digits(tmp_path / "other", train=22))}
    data = MNIST(**{"data_dir": str(folder), **options})
    data.trainer = trainer()
    with pytest.raises(ValueError, match=f"{name}="):
        data.load_state_dict(MNIST(str(folder)).state_dict())
