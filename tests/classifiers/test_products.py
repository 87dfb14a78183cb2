"""Eight-bit products: nearly the true ones, and each token by itself."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from classifiers.products import Int8Product, PlainProduct, largest


@given(rows=st.integers(1, 40), at=st.integers(0, 39), seed=st.integers(0, 1000))
@settings(max_examples=40)
@torch.inference_mode()
def test_a_tokens_product_is_the_same_to_the_last_bit_whatever_stands_beside_it(rows, at, seed):
    random = torch.Generator().manual_seed(seed)
    product = Int8Product.of(torch.randn(48, 64, generator=random))
    x = torch.randn(rows, 64, generator=random) * 10 ** torch.randn(rows, 1, generator=random)
    one = at % rows
    assert torch.equal(product(x)[one], product(x[one : one + 1])[0])


@torch.inference_mode()
def test_an_eight_bit_product_is_within_a_hundredth_of_the_true_one_for_inputs_of_any_size():
    random = torch.Generator().manual_seed(0)
    weight = torch.randn(48, 64, generator=random)
    for size in (1e-9, 1.0, 1e9):
        x = torch.randn(8, 64, generator=random) * size
        true = x @ weight.T
        assert (Int8Product.of(weight)(x) - true).norm() < 0.015 * true.norm()
    assert not Int8Product.of(weight)(torch.zeros(1, 64)).any()


@torch.inference_mode()
def test_a_product_made_again_of_its_parts_is_the_same_to_the_last_bit():
    random = torch.Generator().manual_seed(0)
    product = Int8Product.of(torch.randn(48, 64, generator=random))
    whole, scales = product.parts()
    assert whole.dtype is torch.int8
    assert whole.abs().max() <= 127
    x = torch.randn(8, 64, generator=random)
    assert torch.equal(Int8Product(whole, scales)(x), product(x))


def test_a_plain_product_is_in_the_weights_own_precision_and_comes_in_single():
    weight, x = torch.randn(3, 4).bfloat16(), torch.randn(2, 4)
    found = PlainProduct(weight)(x)
    assert found.dtype is torch.float32
    assert torch.equal(found, (x.bfloat16() @ weight.T).float())


def test_the_largest_are_taken_without_their_sign():
    assert largest(torch.tensor([[1.0, -3.0], [2.0, 0.5]]), 1).tolist() == [3.0, 2.0]
    assert largest(torch.tensor([[1.0, -3.0], [2.0, 0.5]]).bfloat16(), 0).tolist() == [2.0, 3.0]
