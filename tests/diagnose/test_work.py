from __future__ import annotations

import pytest
import torch
from torch import nn

from strop.diagnose.work import count_work


def test_a_linear_layer_counts_two_operations_per_weight_and_row() -> None:
    work = count_work(nn.Linear(16, 8), ((torch.ones(5, 16),), {}))
    assert work.flops == 2 * 5 * 16 * 8
    assert work.traffic == 4 * (16 * 8 + 8 + 5 * 16 + 5 * 8)
    assert work.uncounted == ()


def test_a_convolution_counts_every_answer_element() -> None:
    work = count_work(nn.Conv2d(3, 4, 3, bias=False), ((torch.ones(2, 3, 8, 8),), {}))
    assert work.flops == 2 * (2 * 4 * 6 * 6) * (3 * 3 * 3)


def test_attention_counts_both_products() -> None:
    class Attention(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.scaled_dot_product_attention(x, x, x)

    assert count_work(Attention(), ((torch.ones(1, 2, 8, 4),), {})).flops == 2 * (2 * 2 * 8 * 8 * 4)


def test_of_an_embedding_only_the_rows_taken_move() -> None:
    work = count_work(nn.Embedding(1000, 16), ((torch.zeros(2, 3, dtype=torch.long),), {}))
    # rows taken, eight bytes per index, and the answer
    assert work.traffic == 4 * 6 * 16 + 8 * 6 + 4 * 6 * 16


def test_shared_weights_move_once() -> None:
    model = nn.Sequential(nn.Linear(8, 8, bias=False), nn.Linear(8, 8, bias=False))
    model[1].weight = model[0].weight
    assert count_work(model, ((torch.ones(1, 8),), {})).traffic == 4 * (64 + 8 + 8)


def test_a_product_that_cannot_be_counted_is_named_not_zero() -> None:
    assert any("lstm" in name or "rnn" in name for name in count_work(nn.LSTM(4, 4), ((torch.ones(2, 1, 4),), {})).uncounted)


def test_hooks_go_when_the_model_fails() -> None:
    model = nn.Sequential(nn.Embedding(4, 4))
    with pytest.raises(IndexError):
        count_work(model, ((torch.tensor([9]),), {}))
    assert not model[0]._forward_hooks


def test_an_encoder_layer_counts_its_products_although_torch_fuses_them() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    weights = 4 * 16 * 16 + 2 * 16 * 32
    attention = 2 * 6 * 6 * 16
    assert count_work(layer, ((torch.ones(1, 6, 16),), {})).flops == 2 * (6 * weights + attention)
    assert torch.backends.mha.get_fastpath_enabled()  # type: ignore[no-untyped-call]


def test_what_is_counted_by_its_parts_is_not_called_uncounted() -> None:
    packed = nn.utils.rnn.pack_sequence([torch.ones(5, 4), torch.ones(3, 4)])
    work = count_work(nn.LSTM(4, 8), ((packed,), {}))
    assert work.flops == 2 * 8 * 4 * 8 * (4 + 8) and work.uncounted == ()


def test_a_table_that_is_also_the_head_is_read_whole() -> None:
    model = nn.Sequential(nn.Embedding(100, 16), nn.Linear(16, 100, bias=False))
    model[1].weight = model[0].weight
    work = count_work(model, ((torch.zeros(1, 3, dtype=torch.long),), {}))
    assert work.traffic == 4 * (100 * 16 + 3 * 16) + 8 * 3 + 4 * 3 * 100
