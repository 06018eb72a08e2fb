from __future__ import annotations

import torch

from gramtune.pixels import grid, to_float, to_uint8


def test_every_grey_level_survives_the_round_trip() -> None:
    levels = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(levels)), levels)


def test_floats_cover_minus_one_to_one() -> None:
    assert to_float(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1.0, 1.0]


def test_conversion_leaves_its_input_alone() -> None:
    levels, samples = torch.tensor([7, 9], dtype=torch.uint8), torch.tensor([-0.5, 0.25])
    to_float(levels), to_uint8(samples)
    assert levels.tolist() == [7, 9]
    assert samples.tolist() == [-0.5, 0.25]


def test_points_are_not_pixels() -> None:
    points = torch.tensor([[0.3, 200.0]])
    assert to_float(points) is points


def test_rounding_is_to_nearest_and_out_of_range_is_clamped() -> None:
    assert to_uint8(torch.tensor([10.4, 10.6]) / 127.5 - 1).tolist() == [10, 11]  # truncation would give 10, 10
    assert to_uint8(torch.tensor([-1.5, 1.5])).tolist() == [0, 255]  # without the clamp they wrap around


def test_grid_places_images_row_by_row_with_a_border() -> None:
    images = torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 1, 2, 3)
    canvas = grid(images, columns=2, padding=1)
    border = 128
    rows = [
        [border] * 9,
        [border, 0, 0, 0, border, 1, 1, 1, border],
        [border, 0, 0, 0, border, 1, 1, 1, border],
        [border] * 9,
        [border, 2, 2, 2, border, border, border, border, border],
        [border, 2, 2, 2, border, border, border, border, border],
        [border] * 9,
    ]
    assert canvas.dtype == torch.uint8
    assert canvas.tolist() == [rows]


def test_grid_keeps_colours() -> None:
    image = torch.tensor([1, 2, 3], dtype=torch.uint8).view(1, 3, 1, 1)
    assert grid(image, columns=1)[:, 1, 1].tolist() == [1, 2, 3]
