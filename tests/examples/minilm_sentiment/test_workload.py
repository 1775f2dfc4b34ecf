from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from examples import data
from examples.data import DataAbsentError, Sentence
from examples.minilm_sentiment import workload as example
from strop.contract.examples import digest
from strop.contract.quality import scores


@pytest.fixture(scope="module")
def minilm(real):
    return real(example.workload)


@pytest.fixture(scope="module")
def model(real):
    return real(example.build)


def test_every_split_has_its_size_its_labels_and_single_unpadded_sentences(minilm) -> None:
    sizes = {name: len(split.inputs) for name, split in minilm.splits.items()}
    assert sizes == {"calibration": 180, "screening": 500, "confirming": 1500, "training": 800 + example.SPLICED}
    for name, split in minilm.splits.items():
        assert set(split.labels) == ({0, 1, None} if name == "training" else {0, 1})
        assert all(inputs["input_ids"].shape[0] == 1 for inputs in split.inputs)
        assert all(bool((inputs["attention_mask"] == 1).all()) for inputs in split.inputs)


def test_no_input_appears_in_two_splits(minilm) -> None:
    digests = {name: {digest(inputs) for inputs in split.inputs} for name, split in minilm.splits.items()}
    evaluation = digests["screening"] | digests["confirming"]
    assert not digests["screening"] & digests["confirming"]
    assert not evaluation & digests["calibration"]
    assert not evaluation & digests["training"]
    assert not digests["calibration"] & digests["training"]


def test_what_a_student_learns_from_is_made_when_it_is_looked_at_and_the_same_each_time(real, monkeypatch) -> None:
    splits = real(data.sentiment)
    monkeypatch.setattr(example, "SPLICED", 30)
    made = example.spliced(splits)
    assert made == example.spliced(splits) and len({sentence.text for sentence in made}) == 30
    words = {word for sentence in splits.head for word in sentence.text.split()}
    assert all(set(sentence.text.split()) <= words for sentence in made)
    monkeypatch.setattr(example, "spliced", lambda splits: pytest.fail("made too early"))
    assert len(example.transfer(splits).inputs) == 830


def test_operating_points_keep_natural_lengths(minilm) -> None:
    single, batched = minilm.inputs["batch 1"], minilm.inputs["batch 32"]
    assert len({inputs["input_ids"].shape[1] for inputs in single}) > 10
    assert {inputs["input_ids"].shape[0] for inputs in batched} == {32}
    for inputs in batched:
        lengths = inputs["attention_mask"].sum(dim=1)
        assert int(lengths.max()) == inputs["input_ids"].shape[1]
        assert bool((inputs["input_ids"][inputs["attention_mask"] == 0] == 0).all())


def test_timed_inputs_are_no_evaluation_data(minilm) -> None:
    timed = {digest(inputs) for inputs in minilm.inputs["batch 1"]}
    for name in ("screening", "confirming"):
        assert not timed & {digest(inputs) for inputs in minilm.splits[name].inputs}


def test_the_tokenizer_is_the_one_the_model_was_trained_with(real) -> None:
    encoded = real(lambda: example.encode([Sentence("Good case, Excellent value.", 1)]))
    assert encoded["input_ids"].tolist() == [[101, 2204, 2553, 1010, 6581, 3643, 1012, 102]]
    assert encoded["input_ids"].dtype == torch.int64


def test_long_texts_are_cut_where_the_model_was(real) -> None:
    encoded = real(lambda: example.encode([Sentence("word " * 1000, 1), Sentence("word", 0)]))
    assert encoded["input_ids"].shape == (2, 256)
    assert encoded["attention_mask"].sum(dim=1).tolist() == [256, 3]


def test_the_baseline_is_honest(model) -> None:
    assert not model.training
    assert model.encoder.config._attn_implementation == "sdpa"
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_padding_does_not_change_an_answer(model, minilm) -> None:
    splits = data.sentiment()
    with torch.inference_mode():
        together = model(**example.encode(splits.screening[:8]))
        apart = torch.cat([model(**inputs) for inputs in minilm.screening.inputs[:8]])
    assert together.shape == (8, 2)
    torch.testing.assert_close(together, apart, atol=1e-4, rtol=1e-4)


def test_building_again_gives_the_same_model(model) -> None:
    again = example.build().state_dict()
    assert all(torch.equal(value, again[name]) for name, value in model.state_dict().items())


def test_most_sentences_are_judged_rightly(model, minilm) -> None:
    inputs, labels = minilm.screening.inputs[:120], minilm.screening.labels[:120]
    with torch.inference_mode():
        right = scores(minilm.quality, [model(**one) for one in inputs], labels)
    assert right.mean() > 0.8


@pytest.mark.slow
def test_accuracy_on_the_confirming_sentences(model, minilm) -> None:
    with torch.inference_mode():
        answers = [model(**inputs) for inputs in minilm.confirming.inputs]
    assert 0.88 <= scores(minilm.quality, answers, minilm.confirming.labels).mean() <= 0.92


def test_a_fitted_head_is_the_minimum_of_its_loss() -> None:
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(60, 5)), generator.integers(0, 2, 60)
    weights = example.fit_logistic(features, labels, ridge=0.5)

    def loss(candidate: np.ndarray) -> float:
        margin = np.hstack([features, np.ones((60, 1))]) @ candidate
        return float(np.logaddexp(0, margin).sum() - margin @ labels + 0.25 * (candidate[:-1] ** 2).sum())

    for direction in np.vstack([np.eye(6), -np.eye(6)]):
        assert loss(weights + 1e-3 * direction) > loss(weights)


def test_the_intercept_is_not_penalised() -> None:
    labels = np.array([1] * 90 + [0] * 10)
    weights = example.fit_logistic(np.zeros((100, 3)), labels, ridge=20.0)
    np.testing.assert_allclose(weights, [0, 0, 0, np.log(9)], atol=1e-9)


def test_an_unbounded_fit_is_said_so() -> None:
    features, labels = np.array([[-1.0], [1.0]]), np.array([0, 1])
    with pytest.raises((ArithmeticError, np.linalg.LinAlgError)):
        example.fit_logistic(features, labels, ridge=0.0)


def test_the_fitted_head_is_kept_under_a_name_that_follows_the_ridge(
    model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(example, "sentiment", lambda: few)
    fits: list[int] = []
    monkeypatch.setattr(example, "_fit", lambda module, sentences: fits.append(len(sentences)) or model.head.state_dict())
    few = data.SentimentSplits((Sentence("good", 1), Sentence("bad", 0)), (), (), ())
    (tmp_path / "strop").mkdir()
    first = example._head(model)
    second = example._head(model)
    assert fits == [2]
    assert torch.equal(first["weight"], second["weight"])
    monkeypatch.setattr(example, "RIDGE", 21.0)
    example._head(model)
    assert fits == [2, 2]
    assert len(list((tmp_path / "strop").glob("*.safetensors"))) == 2


def test_a_missing_model_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(example, "find_spec", lambda name: None)
    with pytest.raises(DataAbsentError, match=r"pip install 'strop\[examples,hf\]'"):
        example._folder()
