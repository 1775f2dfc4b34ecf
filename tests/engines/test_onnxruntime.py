"""ONNX Runtime: what it declines, how it is opened, and what damage it names."""

from __future__ import annotations

import dataclasses
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from strop import engines
from strop.contract.draft import EngineOptions, Precision, Quantization
from strop.contract.tally import Tally
from strop.engines import get
from strop.engines.calls import read_settings, write_settings
from strop.engines.onnxruntime import session_options
from strop.engines.quiet import import_onnxruntime
from strop.engines.threads import allowed_cores
from strop.errors import ArtefactError, MissingExtraError, PrepareError, UsageError
from strop.measure.host import Host

HOST = Host(cpu="a test CPU", cores=2)
PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


@pytest.fixture(scope="module")
def lowered(tiny: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """An artefact of the two-layer net in a folder with spaces and Chinese characters."""
    folder = tmp_path_factory.mktemp("ein modell 例")
    draft = tiny.draft(tiny.Mlp(), [torch.randn(b, 16) for b in (3, 2)], engine="onnxruntime")
    get("onnxruntime").lower(draft, folder)
    return SimpleNamespace(draft=draft, folder=folder)


def opened(lowered: SimpleNamespace, **options: Any) -> Any:
    return get("onnxruntime").open(lowered.folder, lowered.draft.signature, EngineOptions(**options))


@pytest.mark.parametrize("name", [name for name in engines.names() if get(name).extra is not None])
def test_the_extra_that_is_asked_for_exists_and_brings_the_engine(name: str) -> None:
    offered = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    extra = get(name).extra
    assert extra in offered
    assert any(need.startswith(name) for need in offered[extra])


def test_exporting_without_the_exporters_packages_says_how_to_install_them(
    tiny: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strop.engines.onnxruntime.installed", lambda *packages: "onnx" not in packages)
    draft = tiny.draft(tiny.Mlp(), [torch.randn(2, 16)], engine="onnxruntime")
    with pytest.raises(MissingExtraError, match=r"exporting to ONNX needs .* pip install 'strop\[onnx\]'"):
        get("onnxruntime").convert(draft, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"precision": Precision(dtype="bfloat16", tally=Tally())}, "no bfloat16 kernels for CPU; choose openvino or inductor"),
        ({"precision": Precision(dtype="float16", tally=Tally())}, "no float16 kernels"),
        ({"engine_options": EngineOptions(buckets=1)}, "no shape buckets"),
        ({"quantization": Quantization(mode="static")}, r"needs calibration inputs, .* give InferenceWorkload\(calibration"),
        ({"quantization": Quantization(mode="dynamic"), "weight_bytes": 1_800_000_001}, "more than 1.8 GB"),
    ],
)
def test_what_cannot_be_run_is_declined_in_words(changed: dict[str, Any], words: str, tiny: SimpleNamespace) -> None:
    weight_bytes = changed.pop("weight_bytes", 0)
    draft = tiny.draft(tiny.Mlp(), [torch.randn(2, 16)], **changed)
    draft.facts = dataclasses.replace(draft.facts, weight_bytes=weight_bytes)
    import re

    assert re.search(words, str(get("onnxruntime").decline(draft, HOST)))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"quantization": Quantization(mode="dynamic")},
        {"quantization": Quantization(mode="dynamic"), "weight_bytes": 1_800_000_000},
        {"weight_bytes": 10**12},
    ],
    ids=["float", "dynamic", "dynamic at the limit", "large in float"],
)
def test_what_can_be_run_is_not_declined(changed: dict[str, Any], tiny: SimpleNamespace) -> None:
    weight_bytes = changed.get("weight_bytes", 0)
    draft = tiny.draft(tiny.Mlp(), [torch.randn(2, 16)], quantization=changed.get("quantization"))
    draft.facts = dataclasses.replace(draft.facts, weight_bytes=weight_bytes)
    assert get("onnxruntime").decline(draft, HOST) is None


def test_weights_beyond_one_file_lie_beside_it_and_are_found_again(
    tiny: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("strop.engines.onnxruntime._ONE_FILE_LIMIT", 10)
    draft = tiny.draft(tiny.Mlp(), [torch.randn(b, 16) for b in (3, 2)], engine="onnxruntime")
    draft.facts = dataclasses.replace(draft.facts, weight_bytes=11)
    graph, folder = tmp_path / "graph", tmp_path / "artefact"
    for path in (graph, folder):
        path.mkdir()
    engine = get("onnxruntime")
    engine.convert(draft, graph)
    assert len(list(graph.iterdir())) == 2
    engine.lower(draft, folder, graph)
    for path in graph.iterdir():
        path.unlink()
    x = torch.randn(4, 16)
    with torch.inference_mode():
        assert torch.allclose(engine.open(folder, draft.signature, EngineOptions())(x), draft.model(x), atol=1e-5)


def test_lowering_from_a_shared_graph_gives_the_same_artefact_and_leaves_the_graph(
    lowered: SimpleNamespace, tmp_path: Path
) -> None:
    graph, folder = tmp_path / "graph", tmp_path / "artefact"
    graph.mkdir()
    get("onnxruntime").convert(lowered.draft, graph)
    before = (graph / "model.onnx").read_bytes()
    get("onnxruntime").lower(lowered.draft, folder, graph)
    assert (folder / "model.onnx").read_bytes() == before == (graph / "model.onnx").read_bytes()
    assert not (graph / "engine.json").exists()


def test_a_model_that_the_exporter_refuses_is_a_prepare_error(
    tiny: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = tiny.draft(tiny.Mlp(), [torch.randn(b, 16) for b in (3, 2)], engine="onnxruntime")

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise ValueError("no decomposition for aten::strange\nand a long trace")

    monkeypatch.setattr("torch.onnx.export", refuse)
    with pytest.raises(PrepareError, match=r"Mlp cannot be exported to ONNX: no decomposition for aten::strange$"):
        get("onnxruntime").lower(draft, tmp_path)
    monkeypatch.setattr("torch.onnx.export", lambda *args, **kwargs: None)
    with pytest.raises(PrepareError, match="Mlp cannot be exported to ONNX: the exporter gave nothing"):
        get("onnxruntime").lower(draft, tmp_path)


def test_an_exporters_error_without_words_is_a_prepare_error_too(
    tiny: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("torch.onnx.export", refuse)
    draft = tiny.draft(tiny.Mlp(), [torch.randn(b, 16) for b in (3, 2)], engine="onnxruntime")
    with pytest.raises(PrepareError, match="Mlp cannot be exported to ONNX: RuntimeError"):
        get("onnxruntime").lower(draft, tmp_path)


def damage(folder: Path, how: str) -> None:
    path = folder / "model.onnx"
    whole = path.read_bytes()
    if how == "missing":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "truncated":
        path.write_bytes(whole[: len(whole) // 2])
    else:
        path.write_bytes(b"not a model")


@pytest.mark.parametrize("how", ["missing", "empty", "truncated", "text"])
def test_a_damaged_model_is_named(how: str, lowered: SimpleNamespace, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "artefact"
    shutil.copytree(lowered.folder, folder)
    damage(folder, how)
    with pytest.raises(ArtefactError, match=r"model\.onnx cannot be opened .*Prepare the artefact again"):
        get("onnxruntime").open(folder, lowered.draft.signature, EngineOptions())


def test_settings_that_do_not_belong_to_the_signature_are_found(lowered: SimpleNamespace, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "artefact"
    shutil.copytree(lowered.folder, folder)
    for settings in ({"outputs": 2}, {}):
        write_settings(folder, settings)
        with pytest.raises(ArtefactError, match="number of outputs differs"):
            get("onnxruntime").open(folder, lowered.draft.signature, EngineOptions())
    assert read_settings(lowered.folder) == {"outputs": 1}


# options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [0, *range(1, len(allowed_cores()) + 1)])
def test_threads_are_as_asked_and_zero_is_all_of_them(threads: int) -> None:
    settings = session_options(import_onnxruntime(), EngineOptions(threads=threads))
    assert settings.intra_op_num_threads == (threads or len(allowed_cores()))


@pytest.mark.parametrize("threads", [-1, 4096])
def test_threads_that_there_are_not_are_refused(threads: int) -> None:
    with pytest.raises(UsageError, match=f"threads={threads} was asked"):
        session_options(import_onnxruntime(), EngineOptions(threads=threads))


def entry(settings: Any, key: str) -> str | None:
    try:
        return str(settings.get_session_config_entry(key))
    except RuntimeError:
        return None


def test_bound_threads_are_all_but_the_caller_numbered_from_one() -> None:
    key = "session.intra_op_thread_affinities"
    onnxruntime, cores = import_onnxruntime(), allowed_cores()
    assert entry(session_options(onnxruntime, EngineOptions(pin=False)), key) is None
    assert entry(session_options(onnxruntime, EngineOptions(pin=True, threads=1)), key) is None
    bound = entry(session_options(onnxruntime, EngineOptions(pin=True)), key)
    assert bound == (";".join(str(core + 1) for core in cores[1:]) if len(cores) > 1 else None)


def test_a_program_with_bound_threads_answers(lowered: SimpleNamespace) -> None:
    x = torch.randn(3, 16)
    with torch.inference_mode():
        want = lowered.draft.model(x)
    program = opened(lowered, pin=True, threads=len(allowed_cores()))
    assert torch.allclose(program(x), want, atol=1e-5)
    program.close()


def test_hints_become_entries_of_the_session() -> None:
    settings = session_options(import_onnxruntime(), EngineOptions(hints={"session.disable_prepacking": "1"}))
    assert entry(settings, "session.disable_prepacking") == "1"


def test_a_hint_that_the_runtime_does_not_take_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match=r"onnxruntime does not take the hint x{2000}"):
        session_options(import_onnxruntime(), EngineOptions(hints={"x" * 2000: "1"}))


# answers -----------------------------------------------------------------------------------------------------------


def test_inputs_that_the_exporter_dropped_may_hold_anything(tiny: SimpleNamespace, tmp_path: Path) -> None:
    class OneOfTwo(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return b * 2

    draft = tiny.draft(OneOfTwo(), [(torch.randn(n, 2), torch.randn(n, 3)) for n in (2, 3)], engine="onnxruntime")
    program = tiny.open(draft, tmp_path)
    b = np.ones((4, 3), np.float32)
    np.testing.assert_array_equal(program(np.full((9, 2), np.nan, np.float32), b), 2 * b)


def test_one_tensor_given_in_two_places_stays_two_inputs(tiny: SimpleNamespace, tmp_path: Path) -> None:
    class Two(torch.nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a - 2 * b

    draft = tiny.draft(Two(), [(x, x) for x in (torch.randn(n, 2) for n in (2, 3))], engine="onnxruntime")
    program = tiny.open(draft, tmp_path)
    a, b = torch.randn(4, 2), torch.randn(4, 2)
    assert torch.allclose(program(a, b), a - 2 * b, atol=1e-6)


def test_the_graph_has_the_names_that_opening_feeds_and_open_batches(lowered: SimpleNamespace) -> None:
    graph = onnx.load(lowered.folder / "model.onnx").graph
    assert [value.name for value in graph.input] == ["input_0"]
    assert [value.name for value in graph.output] == ["output_0"]
    batch, width = graph.input[0].type.tensor_type.shape.dim
    assert batch.dim_param and not batch.dim_value and width.dim_value == 16


def test_calls_from_many_threads_do_not_mix(lowered: SimpleNamespace) -> None:
    program = opened(lowered)
    calls = [torch.randn(1 + i % 5, 16, generator=torch.Generator().manual_seed(i)) for i in range(40)]
    alone = [program(x) for x in calls]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(program, calls))
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_nothing_is_printed(lowered: SimpleNamespace, capfd: pytest.CaptureFixture[str]) -> None:
    opened(lowered)(torch.randn(2, 16))
    assert capfd.readouterr() == ("", "")


class Recurrent(torch.nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        options: dict[str, Any] = {"num_layers": 2, "batch_first": True, "bidirectional": True}
        self.layer = getattr(torch.nn, kind)(6, 5, **options)
        self.head = torch.nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = self.head(self.layer(x)[0])
        return answer


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_recurrent_layers_take_any_number_of_steps_and_rows(kind: str, tiny: SimpleNamespace, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Recurrent(kind).eval()
    draft = tiny.draft(model, [torch.randn(b, n, 6) for b, n in ((1, 4), (3, 9))], engine="onnxruntime")
    get("onnxruntime").lower(draft, tmp_path)
    program = get("onnxruntime").open(tmp_path, draft.signature, EngineOptions())
    for rows, steps in ((1, 1), (2, 9), (5, 17)):
        x = torch.randn(rows, steps, 6)
        with torch.inference_mode():
            np.testing.assert_allclose(program(x.numpy()), model(x).numpy(), atol=1e-5)


def test_an_engine_that_fixes_the_steps_of_recurrent_layers_says_which_does_not(tiny: SimpleNamespace, tmp_path: Path) -> None:
    draft = tiny.draft(Recurrent("LSTM").eval(), [torch.randn(1, n, 6) for n in (4, 9)], engine="openvino")
    with pytest.raises(PrepareError, match=r"fixes dimension 1 .* the engine onnxruntime keeps it free"):
        get("openvino").lower(draft, tmp_path)
