"""int8 and binary vectors, against sentence-transformers on the same vectors."""

from __future__ import annotations

import numpy as np
import pytest

from langbert.embedding.quantization import binary, int8


@pytest.fixture
def vectors() -> np.ndarray:
    values = np.random.default_rng(0).standard_normal((50, 384)).astype(np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def test_binary_is_that_of_sentence_transformers(vectors: np.ndarray) -> None:
    from sentence_transformers.util.quantization import quantize_embeddings

    ours = binary(vectors)
    assert ours.dtype == np.int8
    assert ours.shape == (50, 48)
    np.testing.assert_array_equal(ours, quantize_embeddings(vectors, "binary"))


def test_binary_bit_order_and_padding() -> None:
    assert binary(np.array([[1, -1, 0, 0, 0, 0, 0, 2, 3]], np.float32)).tolist() == [[0b10000001 - 128, 0]]
    assert binary(np.zeros((0, 16), np.float32)).shape == (0, 2)


def test_int8_is_that_of_sentence_transformers_over_the_same_range(vectors: np.ndarray) -> None:
    from sentence_transformers.util.quantization import quantize_embeddings

    ours = int8(vectors)
    assert ours.dtype == np.int8
    ranges = np.stack([np.full(384, -1, np.float32), np.full(384, 1, np.float32)])
    theirs = quantize_embeddings(vectors, "int8", ranges=ranges)  # 255 steps, rounded down, from -128
    assert np.abs(ours.astype(int) - (theirs.astype(int) + 1)).max() <= 1


def test_int8_keeps_cosines(vectors: np.ndarray) -> None:
    coded = int8(vectors).astype(np.float32)
    assert np.abs(coded / 127 - vectors).max() <= 1 / 254 + 1e-6
    assert np.linalg.norm(coded / 127 - vectors, axis=1).max() <= 384**0.5 / 254
    unit = coded / np.linalg.norm(coded, axis=1, keepdims=True)
    assert np.abs(unit @ unit.T - vectors @ vectors.T).max() < 0.015


def test_int8_takes_unit_vectors_and_zeros_only(vectors: np.ndarray) -> None:
    assert int8(np.zeros((1, 4), np.float32)).tolist() == [[0, 0, 0, 0]]
    assert int8(np.array([[-1.0, 0.0]], np.float32)).tolist() == [[-127, 0]]
    with pytest.raises(ValueError, match="vector 1 has length 2"):
        int8(np.stack([vectors[0], 2 * vectors[1]]))
