"""``hf:FOLDER-OR-ID``: a workload from a transformers model and a CSV of labelled texts."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strop.contract.examples import digest
from strop.contract.quality import accuracy
from strop.contract.workload import InferenceWorkload, Split
from strop.errors import MissingExtraError, WorkloadError, did_you_mean

TASKS = ("text-classification",)
SHARES = (("calibration", 0.1), ("screening", 0.25), ("confirming", 0.65))
"""How the rows of the CSV are dealt out, in the order of the hash of their text."""

BATCH = 32
LONGEST = 512
POINT_ROWS = 256


def hub_workload(model: str, *, task: str = "", data: str = "", text: str = "text", label: str = "label") -> InferenceWorkload:
    """Build a workload from a model folder or hub id and a CSV file.

    Args:
        model: local folder, or an id that transformers can download.
        task: ``text-classification``.
        data: CSV file with a header; calibration, screening and confirming parts are dealt by hash.
        text: column with the text.
        label: column with the class, as a number or as one of the model's label names.

    Raises:
        WorkloadError: the task is not known, the file or a column is missing, or a label is not one of the model's.
        MissingExtraError: transformers is not installed.
    """
    if task not in TASKS:
        raise WorkloadError(f"--task {task or '(none)'} is not known for hf: workloads.{did_you_mean(task, TASKS)}")
    if not data:
        raise WorkloadError("an hf: workload needs labelled data: --data FILE.csv with a text and a label column.")
    try:
        from transformers import AutoConfig, AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("an hf: workload", "hf") from error
    rows = _read(Path(data), text, label)
    try:
        config, tokenizer = AutoConfig.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise WorkloadError(
            f"{model} is neither a model folder nor an id that can be reached: {str(error).splitlines()[0]}"
        ) from error
    names = {name: int(number) for number, name in config.id2label.items()}

    def encode(part: Sequence[str]) -> dict[str, Any]:
        return dict(tokenizer(list(part), padding=True, truncation=True, max_length=LONGEST, return_tensors="pt"))

    found: dict[str, tuple[str, dict[str, Any], int]] = {}
    for words, value in rows:  # texts that the tokenizer cannot tell apart are one example, and go into one part
        example = encode([words])
        found.setdefault(digest(example), (words, example, _class(value, names)))
    if len(found) < 2 * BATCH:
        many = f"{len(found)} labelled texts that differ for the tokenizer"
        raise WorkloadError(f"{data} holds {many}; at least {2 * BATCH} are needed to judge anything.")
    texts, examples, labels = zip(*found.values(), strict=True)
    splits, start = {}, 0
    for name, share in SHARES:
        stop = len(found) if name == "confirming" else start + round(share * len(found))
        splits[name] = Split(inputs=list(examples[start:stop]), labels=list(labels[start:stop]))
        start = stop
    sample = texts[:POINT_ROWS]
    batches = [sample[i : i + BATCH] for i in range(0, len(sample) - BATCH + 1, BATCH)] or [sample]
    return InferenceWorkload(
        name=Path(model).name,
        model=lambda: _load(model),
        inputs={"batch 1": list(examples[:64]), f"batch {len(batches[0])}": [encode(batch) for batch in batches]},
        quality=accuracy(),
        calibration=splits["calibration"],
        screening=splits["screening"],
        confirming=splits["confirming"],
    )


def _load(model: str) -> Any:
    from transformers import AutoModelForSequenceClassification

    return AutoModelForSequenceClassification.from_pretrained(model, attn_implementation="sdpa")


def _read(path: Path, text: str, label: str) -> list[tuple[str, str]]:
    """Return distinct (text, label) rows in the order of the hash of the case-folded text."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            for column in (text, label):
                names = reader.fieldnames or ()
                if column not in names:
                    hint = did_you_mean(column, names) if names else " It is empty."
                    raise WorkloadError(f"{path} has no column {column!r}.{hint}")
            rows: dict[str, tuple[str, str]] = {}
            for row in reader:
                words, value = (row[text] or "").strip(), (row[label] or "").strip()
                if words and value:
                    rows.setdefault(words.casefold(), (words, value))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise WorkloadError(f"the data file {path} cannot be read: {error}.") from error
    return [rows[key] for key in sorted(rows, key=lambda key: hashlib.sha256(key.encode()).digest())]


def _class(value: str, names: dict[str, int]) -> int:
    if value in names:
        return names[value]
    if value.isdecimal() and int(value) in names.values():
        return int(value)
    raise WorkloadError(f"label {value!r} is not one of the model's classes: {', '.join(names)} (or 0 to {len(names) - 1}).")
