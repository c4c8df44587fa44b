"""Networks of vectors, alone and trained by the Classifier on images."""

from functools import partial

import lightning as L
import pytest
import torch
import torch.nn.functional as F

from datamodules import MNIST
from datamodules.common.order import epoch_order
from lightning_modules import MLP, Classifier, CrossEntropyHead, HarmonicHead
from lightning_modules.networks.vectors import Identity, VectorMLP
from tests.helpers.idx_digits import digits, write_digits


def test_identity_returns_its_inputs():
    x = torch.rand(3, 5, 12)
    network = Identity(0, 12)
    assert torch.equal(network(x), x) and network.out_features == 12
    assert not list(network.parameters())


@pytest.mark.parametrize("num_layers", [1, 3])
def test_vector_mlp_is_linear_layers_with_relu(num_layers):
    network = VectorMLP(0, 12, hidden_dim=7, num_layers=num_layers)
    x = torch.rand(5, 12)
    expected = x.double()
    parameters = [p.detach().double() for p in network.parameters()]
    assert len(parameters) == 2 * num_layers
    for weight, bias in zip(parameters[::2], parameters[1::2], strict=True):
        expected = (expected @ weight.T + bias).clamp_min(0)
    torch.testing.assert_close(network(x).double(), expected)
    assert network.out_features == 7 == expected.shape[-1]


@pytest.mark.parametrize("network", [Identity, VectorMLP])
def test_networks_of_vectors_reject_tokens(network):
    with pytest.raises(ValueError, match="vocab_size"):
        network(31, 2)
    with pytest.raises(ValueError, match="num_inputs"):
        network(0, 0)


def test_mlp_of_tokens_rejects_images():
    with pytest.raises(ValueError, match="vocab_size"):
        MLP(0, 784)


def test_sizes_below_1_raise():
    for options in ({"hidden_dim": 0}, {"num_layers": 0}):
        with pytest.raises(ValueError, match="VectorMLP"):
            VectorMLP(0, 12, **options)


@pytest.fixture
def fit(tmp_path):
    """Train a Classifier on small images; returns it."""
    write_digits(tmp_path)

    def train(network, head, seeds, epochs=3):
        model = Classifier(
            network, head, 0, 12, 10, tie_embedding=False, seeds=seeds, learning_rate=1e-2
        )
        trainer = L.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(model, datamodule=MNIST(str(tmp_path), batch_size=5))
        assert trainer.global_step == 5 * epochs
        return model

    return train


@pytest.mark.filterwarnings("ignore:.*logging interval.*")
def test_classifier_of_images_matches_a_plain_training_loop(fit):
    model = fit(Identity, partial(CrossEntropyHead, bias=True), seeds=[3, 8])
    images, labels = (torch.from_numpy(array) for array in digits(23, 0))
    pixels, labels = images.flatten(1).float() / 255, labels.long()
    for member, seed in enumerate([3, 8]):
        torch.manual_seed(seed)
        head = CrossEntropyHead(12, 10, bias=True)
        weight, bias = head.weight, head.bias
        optimizer = torch.optim.AdamW([weight, bias], lr=1e-2, weight_decay=0.01)
        for epoch in range(3):
            for chosen in epoch_order(seed, epoch, 23).split(5):
                optimizer.zero_grad()
                F.cross_entropy(pixels[chosen] @ weight.T + bias, labels[chosen]).backward()
                optimizer.step()
        trained = model.member(member).head
        torch.testing.assert_close(trained.weight, weight, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(trained.bias, bias, atol=1e-5, rtol=1e-4)
        loss = F.cross_entropy(pixels @ weight.T + bias, labels)
        torch.testing.assert_close(
            model.scores()["train/loss"][member], loss.detach(), atol=1e-5, rtol=1e-4
        )


@pytest.mark.filterwarnings("ignore:.*logging interval.*")
def test_training_seeds_together_matches_training_alone(fit):
    network = partial(VectorMLP, hidden_dim=6)
    head = partial(HarmonicHead, exponent=2, eps=1e-4)
    together, alone = fit(network, head, [5, 1, 9]), fit(network, head, [1])
    expected = dict(alone.member(0).named_parameters())
    for name, parameter in together.member(1).named_parameters():
        torch.testing.assert_close(parameter, expected[name], atol=1e-5, rtol=1e-4)
    for name, value in alone.scores().items():
        torch.testing.assert_close(
            together.scores()[name][1], value[0], atol=1e-5, rtol=1e-4, equal_nan=True
        )
