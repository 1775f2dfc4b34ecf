"""Workloads from a transformers folder and a CSV file. The model is tiny and random, the tokenizer made here; no network."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import strop
from strop.contract.examples import read_examples
from strop.contract.pytree import flatten
from strop.contract.quality import scores
from strop.errors import MissingExtraError, WorkloadError
from strop.trial.hub import hub_workload
from strop.trial.reference import parse_reference
from strop.trial.target import open_target

TASK = "text-classification"
WORDS = ("好", "坏", "good", "bad", "film", "book", "the", "very")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A model folder whose name holds a space and Chinese characters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

        place = tmp_path_factory.mktemp("hub") / "情感 model"
        names = ["[PAD]", "[UNK]", *WORDS]
        tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(names)}, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(place)
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(names),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            id2label={0: "坏 bad", 1: "好 good"},
            label2id={"坏 bad": 0, "好 good": 1},
        )
        BertForSequenceClassification(config).save_pretrained(place)
        yield place


def rows(count: int) -> list[dict[str, str]]:
    """Distinct texts of 3 to 6 words that the tokenizer knows, with labels by name and by number in turn."""
    texts = [" ".join(WORDS[(n // 8**k) % 8] for k in range(3)) + " very" * (n % 4) for n in range(count)]
    return [{"text": text, "label": ("坏 bad", "1", "好 good", "0")[n % 4]} for n, text in enumerate(texts)]


def labelled(label: str) -> list[dict[str, str]]:
    """A table that is good but for the label of one row."""
    return [*rows(64), {"text": "z", "label": label}]


def write(path: Path, data: list[dict[str, str]], encoding: str = "utf-8") -> str:
    with path.open("w", encoding=encoding, newline="") as stream:
        writer = csv.DictWriter(stream, list(data[0]))
        writer.writeheader()
        writer.writerows(data)
    return str(path)


def texts(load: Any) -> int:
    return sum(len(split.inputs) for split in load.splits.values())


@pytest.fixture
def one_core() -> Iterator[None]:
    """Two threads on a busy machine wait for each other far longer than so small a model computes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_core")
def test_a_folder_and_a_table_go_the_whole_way(folder: Path, place: Any) -> None:
    """From a reference to labelled answers: prepared, opened, evaluated, scored."""
    data = write(place.folder / "数据 data.csv", rows(100))
    reference = parse_reference(f"hf:{folder}", task=TASK, data=data)
    workload, model, materials = place.opened(reference)
    assert type(model).__name__ == "BertForSequenceClassification"
    assert not model.training
    assert workload.name == "情感 model"
    assert list(workload.inputs) == ["batch 1", "batch 32"]
    assert [len(inputs) for inputs in workload.inputs.values()] == [64, 3]
    assert {name: len(split.inputs) for name, split in workload.splits.items()} == {
        "calibration": 10,
        "screening": 25,
        "confirming": 65,
    }
    shop = place.shop(reference, materials)
    told = dict(shop.arm(shop.prepare_original(workload, model), "baseline").arguments)
    target = open_target({**told, "options": {**told["options"], "threads": 1}})
    answers = place.folder / "answers.safetensors"
    target.call("evaluate", {"inputs": str(materials.split_file("screening")), "answers": str(answers)})
    found = read_examples(answers)
    with torch.inference_mode():
        own = [model(**example).logits.numpy() for example in workload.screening.inputs]
    assert all(np.allclose(flatten(a)[0][0], b, atol=1e-6) for a, b in zip(found, own, strict=True))
    right = scores(workload.quality, found, workload.screening.labels)
    assert right.mean() == np.mean([int(b.argmax()) == label for b, label in zip(own, workload.screening.labels, strict=True)])
    assert 0 < right.mean() < 1


def test_parts_are_dealt_by_the_text_alone(folder: Path, tmp_path: Path) -> None:
    """Neither the order of the rows nor their labels move a text from one part to another."""
    data = rows(80)
    turned = [{**row, "label": "1"} for row in reversed(data)]
    first, second = (
        hub_workload(str(folder), task=TASK, data=write(tmp_path / name, content))
        for name, content in (("a.csv", data), ("b.csv", turned))
    )
    for name, split in first.splits.items():
        for ours, theirs in zip(split.inputs, second.splits[name].inputs, strict=True):
            assert torch.equal(ours["input_ids"], theirs["input_ids"])
    assert set(second.confirming.labels or ()) == {1}
    assert set(first.confirming.labels or ()) == {0, 1}


def test_chinese_text_and_labels_are_read_as_they_are(folder: Path, tmp_path: Path) -> None:
    data = [{"text": f"好 坏 {'very ' * n}", "label": "好 good"} for n in range(70)]
    load = hub_workload(str(folder), task=TASK, data=write(tmp_path / "字.csv", data))
    tokens = {tuple(example["input_ids"][0, :2].tolist()) for example in load.confirming.inputs}
    assert tokens == {(2, 3)}, "both words are in the vocabulary"
    assert set(load.confirming.labels or ()) == {1}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(encoding: str, folder: Path, tmp_path: Path) -> None:
    assert texts(hub_workload(str(folder), task=TASK, data=write(tmp_path / "d.csv", rows(64), encoding))) == 64


def test_a_text_that_comes_twice_counts_once(folder: Path, tmp_path: Path) -> None:
    """Case and surrounding spaces make no other text; rows without text or label are left out."""
    data = rows(70)
    more = [{"text": f"  {row['text'].upper()} ", "label": row["label"]} for row in data[:20]]
    gaps = [{"text": "", "label": "1"}, {"text": "good", "label": ""}]
    assert texts(hub_workload(str(folder), task=TASK, data=write(tmp_path / "d.csv", data + more + gaps))) == 70


def test_the_first_of_two_labels_for_a_text_holds(folder: Path, tmp_path: Path) -> None:
    data = [{**row, "label": "1"} for row in rows(64)]
    load = hub_workload(str(folder), task=TASK, data=write(tmp_path / "d.csv", [*data, *({**row, "label": "0"} for row in data)]))
    assert {label for split in load.splits.values() for label in split.labels or ()} == {1}


def test_texts_that_the_tokenizer_cannot_tell_apart_are_one_example(folder: Path, place: Any) -> None:
    """Otherwise the same tokens could calibrate and judge, and the user could not find the rows that are to blame."""
    strange = [{"text": f"good {'字' * n}", "label": "1"} for n in range(1, 60)]
    reference = parse_reference(f"hf:{folder}", task=TASK, data=write(place.folder / "d.csv", rows(70) + strange))
    workload, _, _ = place.opened(reference)
    assert texts(workload) == 71


def test_few_texts_make_one_batch_of_what_there_is(folder: Path, tmp_path: Path) -> None:
    load = hub_workload(str(folder), task=TASK, data=write(tmp_path / "d.csv", rows(64)))
    assert {name: len(inputs) for name, inputs in load.inputs.items()} == {"batch 1": 64, "batch 32": 2}


def test_other_columns_can_be_named(folder: Path, tmp_path: Path) -> None:
    data = [{"评论": row["text"], "stars": row["label"], "text": "x"} for row in rows(64)]
    load = hub_workload(str(folder), task=TASK, data=write(tmp_path / "d.csv", data), text="评论", label="stars")
    assert texts(load) == 64


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        ([{"txt": "a", "label": "1"}], {}, "{data} has no column 'text'. Did you mean 'txt'?"),
        ([{"text": "a", "klass": "1"}], {}, "{data} has no column 'label'. Known: klass, text."),
        ([{"text": "a", "label": "1"}], {"label": "labels"}, "{data} has no column 'labels'. Did you mean 'label'?"),
        (rows(63), {}, "{data} holds 63 labelled texts that differ for the tokenizer; at least 64 are needed to judge anything"),
        (rows(32) * 2, {}, "{data} holds 32 labelled texts that differ"),
        (labelled("neutral"), {}, "label 'neutral' is not one of the model's classes: 坏 bad, 好 good (or 0 to 1)"),
        (labelled("2"), {}, "label '2' is not one of the model's classes"),
        (labelled("-1"), {}, "label '-1' is not one of the model's classes"),
        (rows(64), {"task": "text-clasification"}, "--task text-clasification is not known for hf: workloads. Did you mean"),
        (rows(64), {"task": ""}, "--task (none) is not known for hf: workloads. Known: text-classification."),
        (rows(64), {"data": ""}, "an hf: workload needs labelled data: --data FILE.csv with a text and a label column"),
        (rows(64), {"data": "没有 none.csv"}, "the data file 没有 none.csv cannot be read"),
        ([*rows(64), {"text": "long " * 40_000, "label": "1"}], {}, "{data} cannot be read"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_says_why(
    data: list[dict[str, str]], options: dict[str, str], words: str, folder: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "数据 d.csv", data)
    with pytest.raises(WorkloadError) as caught:
        hub_workload(str(folder), **{"task": TASK, "data": path, **options})
    assert words.format(data=path) in str(caught.value)


@pytest.mark.parametrize(("content", "words"), [(b"", "has no column 'text'"), (b"text,label\n\xff\xfe,1\n", "cannot be read")])
def test_a_file_that_is_no_table_says_so(content: bytes, words: str, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(content)
    with pytest.raises(WorkloadError, match=words) as caught:
        hub_workload(str(folder), task=TASK, data=str(path))
    assert "Known: ." not in str(caught.value)


def test_a_folder_that_is_missing_or_holds_no_model_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    data = write(tmp_path / "d.csv", rows(64))
    (tmp_path / "empty").mkdir()
    for name in ("没有 none", "empty"):
        where = f"{tmp_path}{os.sep}{name}"
        with pytest.raises(WorkloadError, match="is neither a model folder nor an id that can be reached: ") as caught:
            hub_workload(where, task=TASK, data=data)
        assert str(caught.value).startswith(where)
        assert "\n" not in str(caught.value)


def test_an_option_that_hub_workloads_do_not_have_gets_the_nearest_name(folder: Path) -> None:
    with pytest.raises(WorkloadError, match=r"hf: workloads have no option 'lable'\. Did you mean 'label'\?"):
        parse_reference(f"hf:{folder}", task=TASK, lable="stars")


def test_without_transformers_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'strop\[hf\]'"):
        hub_workload("anything", task=TASK, data=write(tmp_path / "d.csv", rows(64)))


def test_an_eager_bundle_of_a_hub_workload_opens_again(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its reference is the command's own, prefix and options included."""
    monkeypatch.setenv("STROP_CACHE", str(tmp_path / "cache"))
    data = write(tmp_path / "数据 d.csv", rows(64))
    manifest = strop.apply("strop: 1", f"hf:{folder}", out=tmp_path / "bundle", task=TASK, data=data)
    assert manifest.engine == "eager" and manifest.origin.reference == f"hf:{folder}"
    assert manifest.origin.options == {"task": TASK, "data": data}
    example = hub_workload(str(folder), task=TASK, data=data).screening.inputs[0]
    answer = strop.open_bundle(tmp_path / "bundle")(**example)
    assert flatten(answer)[0][0].shape[-1] == 2
