"""All arrays of the latent plane share one orientation."""

import pytest
import torch

from latentbench.analysis.core.data_context import to_uint8
from latentbench.analysis.features.judge import joint_predictions
from latentbench.analysis.latent.latent_plane import class_area, extent_of, grid, plane_arrays, tiled


def test_grid_starts_at_the_top_left():
    points = grid((0.0, 4.0, 10.0, 12.0), 2)
    assert points.tolist() == [[1.0, 11.5], [3.0, 11.5], [1.0, 10.5], [3.0, 10.5]]


def test_extent_is_three_deviations():
    codes = torch.tensor([[0.0, 10.0], [2.0, 10.0], [4.0, 16.0]])
    assert extent_of(codes) == pytest.approx((2 - 6, 2 + 6, 12 - 3 * 12**0.5, 12 + 3 * 12**0.5))


def test_tiles_are_in_order_of_rows():
    images = torch.arange(4).reshape(4, 1, 1, 1).expand(4, 3, 2, 2)
    picture = tiled(images, 2)
    assert picture.shape == (3, 4, 4)
    assert picture[1].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]


def test_class_area_by_hand():
    area = class_area(torch.tensor([0, 2, 2, 0]), torch.tensor([1.0, 2.0, 3.0, 2.0]), 4)
    assert area.tolist() == [0.375, 0, 0.625, 0]
    with pytest.raises(ValueError, match="positive sum"):
        class_area(torch.tensor([0]), torch.tensor([0.0]), 1)


def test_maps_and_decoded_images_agree_on_the_plane(ae):
    codes = ae.code_samples
    arrays = plane_arrays(ae, codes, None, lambda z: z[:, 1] > 0)
    left, right, bottom, top = arrays["plane_extent"]
    middle = round(100 * top / (top - bottom))
    assert arrays["plane_dead"][: middle - 1].all()
    assert not arrays["plane_dead"][middle + 1 :].any()
    corner = torch.tensor([[left + (right - left) / 40, top - (top - bottom) / 40]]).float()
    expected = to_uint8(ae.decode(corner))[0].numpy()
    assert abs(arrays["plane_images"][:, :28, :28].astype(int) - expected).max() <= 1
    views = ae.context.view(ae.decode(grid((left, right, bottom, top), 100)[:1]))
    assert arrays["plane_class"][0, 0] == joint_predictions(views).item()
    assert "labels" not in arrays
