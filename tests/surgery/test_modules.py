from __future__ import annotations

import pytest
import torch
from torch import nn

from strop.surgery.modules import find, has, matrix_weights, replace, replace_all
from strop.testing.models import ConvBnNet, TinyAttention


def test_find_gives_names_and_subclasses_in_order() -> None:
    assert [name for name, _ in find(ConvBnNet(), nn.Conv2d)] == ["stem", "deep", "out"]
    assert has(ConvBnNet(), nn.Linear, nn.LSTM) and not has(ConvBnNet(), nn.LSTM)


def test_replace_keeps_the_training_flag_and_refuses_unknown_names() -> None:
    model = nn.Sequential(nn.Sequential(nn.ReLU())).eval()
    replace(model, "0.0", nn.Dropout())
    assert isinstance(model[0][0], nn.Dropout) and not model[0][0].training  # type: ignore[index]
    with pytest.raises(AttributeError):
        replace(model, "0.7", nn.ReLU())


def test_replace_reaches_a_module_under_every_name_it_has() -> None:
    shared = nn.ReLU()
    model = nn.ModuleDict({"encoder": nn.Sequential(shared, nn.Tanh()), "first": nn.Sequential(shared), "again": shared})
    replace(model, "encoder.0", nn.Identity())
    assert model["encoder"][0] is model["first"][0] is model["again"] and isinstance(model["again"], nn.Identity)  # type: ignore[index]
    assert isinstance(model["encoder"][1], nn.Tanh) and list(model) == ["encoder", "first", "again"]  # type: ignore[index]


def test_replace_all_counts_what_it_replaced() -> None:
    model = ConvBnNet()
    assert replace_all(model, nn.BatchNorm2d, lambda name, norm: None if name == "norm1" else nn.Identity()) == 2
    assert [name for name, _ in find(model, nn.BatchNorm2d)] == ["norm1"]


def test_matrix_weights_leave_out_embeddings_and_norms() -> None:
    weights = matrix_weights(TinyAttention())
    assert {w.name for w in weights} == {"qkv.weight", "mix.weight", "mlp.up.weight", "mlp.down.weight", "head.weight"}
    assert sum(w.numel for w in weights) == 96 * 32 + 32 * 32 + 64 * 32 * 2 + 3 * 32


def test_matrix_weights_know_their_kind() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.rnn, self.conv = nn.Parameter(torch.ones(2, 2)), nn.GRU(2, 2), nn.Conv1d(2, 2, 1)

    assert {w.name: w.kind for w in matrix_weights(Own())} == {
        "weight": "linear",
        "rnn.weight_ih_l0": "recurrent",
        "rnn.weight_hh_l0": "recurrent",
        "conv.weight": "convolution",
    }
