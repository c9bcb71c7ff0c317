"""Which parts of an image a network's values depend on."""

import cv2
import numpy as np
import pytest

from dino_rl.saliency import saliency


def test_saliency_is_where_the_network_looks():
    rng = np.random.default_rng(0)
    observations = rng.integers(0, 256, (3, 80, 80, 4)).astype(np.uint8)

    def looks_at_a_corner(batch: np.ndarray) -> np.ndarray:
        corner = batch[:, 10:20, 50:60].astype(np.float32).std(axis=(1, 2, 3))
        return np.stack([corner, -corner], axis=1)

    maps = saliency(looks_at_a_corner, observations)
    assert maps.shape == (3, 80, 80)
    assert maps.dtype == np.float32
    for each in maps:
        row, column = np.unravel_index(each.argmax(), each.shape)
        assert 5 < row < 25
        assert 45 < column < 65
        assert each[50:, :30].max() < 0.01 * each.max()
        assert (each >= 0).all()


@pytest.mark.parametrize("shape", [(80, 80, 1), (84, 60, 3)])
def test_saliency_of_other_images(shape):
    observations = np.random.default_rng(0).integers(0, 256, (2, *shape)).astype(np.uint8)
    maps = saliency(lambda batch: batch.mean(axis=(1, 2)).astype(np.float32), observations)
    assert maps.shape == (2, *shape[:2])
    nothing = saliency(lambda batch: np.zeros((len(batch), 3), np.float32), observations)
    assert (nothing == 0).all()


def test_a_network_of_keras_has_a_saliency(model_file):
    from dino_rl.player import load_player

    player = load_player(model_file)
    observations = np.random.default_rng(0).integers(0, 256, (1, 80, 80, 4)).astype(np.uint8)
    by_network, by_values = (saliency(f, observations) for f in (player.network, player.values))
    np.testing.assert_allclose(by_network, by_values, atol=1e-5)
    assert by_values.max() > 0


def test_a_value_of_the_map_is_the_papers():
    """Equations 1 and 3 of Greydanus et al. 2018, one pixel at a time."""
    rng = np.random.default_rng(1)
    observation = rng.integers(0, 256, (16, 24, 2), np.uint8)
    weights = rng.normal(size=(16 * 24 * 2, 3))

    def values_of(batch):
        return batch.reshape(len(batch), -1) @ weights

    blurred = cv2.GaussianBlur(observation.astype(np.float32), (0, 0), 3.0)
    row, column = 3.5, 11.5  # the centre of one of the cells of 8 pixels
    perturbed = np.zeros_like(observation)
    for y in range(16):
        for x in range(24):
            mask = np.exp(-((y - row) ** 2 + (x - column) ** 2) / 50)
            mixed = observation[y, x] * (1 - mask) + blurred[y, x] * mask
            perturbed[y, x] = np.rint(mixed)
    difference = values_of(observation[None])[0] - values_of(perturbed[None])[0]
    grid = cv2.resize(
        saliency(values_of, observation[None], stride=8)[0], (3, 2), interpolation=cv2.INTER_AREA
    )
    # Resizing spreads each value over its cell, so that only the order of magnitude is left of it.
    assert grid[0, 1] == pytest.approx(0.5 * (difference**2).sum(), rel=0.35)
