"""Blockwise inverses of triangular matrices."""

from __future__ import annotations

import pytest
import torch

from gramtune.stats.triangular import inverse_of_lower


@pytest.mark.parametrize("n", [1, 2, 63, 64, 65, 100, 128, 129, 200, 257, 400])
def test_an_inverse_by_blocks_equals_the_plain_one(n: int) -> None:
    """One block, blocks that fit, and blocks that must be filled up; of kernel matrices such as training has."""
    points = torch.randn(2, 3, n, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(n))
    gram = torch.exp(-torch.cdist(points, points).square() / 2) + 1e-3 * torch.eye(n, dtype=torch.float64)
    factor = torch.linalg.cholesky(gram)
    inverse = inverse_of_lower(factor)
    torch.testing.assert_close(inverse, torch.linalg.inv(factor), rtol=1e-9, atol=1e-9)
    assert torch.equal(inverse, inverse.tril())


def test_no_matrix_of_a_batch_spoils_another() -> None:
    factor = torch.eye(150, dtype=torch.float64).repeat(2, 1, 1)
    factor[1, 100, 100] = torch.nan  # what Cholesky leaves of a matrix that is not positive definite
    inverse = inverse_of_lower(factor)
    assert torch.equal(inverse[0], factor[0])
    assert inverse[1].isnan().any()
