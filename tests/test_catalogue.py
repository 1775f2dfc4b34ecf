from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import strop.instructions
from strop import catalogue
from strop.contract.card import Family, Life
from strop.contract.instruction import Instruction, identity
from strop.contract.pages import HEADINGS, sections
from strop.contract.planned import PLANNED
from strop.contract.recipe import Recipe
from strop.errors import RecipeError, UsageError
from strop.instructions.inference.i29_static_quantization import StaticQuantization
from strop.instructions.training.i18_amp_optimizer import AmpOptimizer

PLUGIN = '''
from dataclasses import dataclass
from typing import final
from strop.contract.card import Aim, Card, Fidelity
from strop.contract.instruction import Instruction
from strop.contract.ties import ties

@final
@dataclass(frozen=True, kw_only=True)
class Mine(Instruction):
    """Do something of my own."""
    card = Card(aims=frozenset({Aim.LATENCY}), fidelity=Fidelity.EXACT)
    rate: float = 0.1
    on: bool = True
    def ties(self):
        return ties()
    def at_freeze(self, draft, tally):
        tally.add("mine")
'''


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of another distribution; the catalogue is read anew with it and without it."""
    folder = tmp_path / "a_plugin" / "inference"
    folder.mkdir(parents=True)
    (tmp_path / "a_plugin" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    point = EntryPoint(name="mine", value="a_plugin", group=catalogue.ENTRY_POINTS)
    monkeypatch.setattr(catalogue, "entry_points", lambda group: [point])
    catalogue.all.cache_clear()
    yield folder  # type: ignore[misc]
    catalogue.all.cache_clear()
    for name in [name for name in sys.modules if name.startswith("a_plugin")]:
        del sys.modules[name]


def test_all_numbers_are_known_once_and_in_order() -> None:
    assert [row.number for row in catalogue.all()] == list(range(1, 57))
    names = [name for row in catalogue.all() for name in (row.name, *row.aliases)]
    assert len(names) == len(set(names))


def test_what_is_built_is_not_planned_and_every_row_is_one_or_the_other() -> None:
    built = {row.number for row in catalogue.built()}
    assert built.isdisjoint(plan.number for plan in PLANNED)
    assert built | {plan.number for plan in PLANNED} == set(range(1, 57))
    assert {row.life for row in catalogue.planned()} == {Life.PLANNED}
    assert Life.PLANNED not in {row.life for row in catalogue.built()}


def test_the_planned_table_is_in_order_and_says_something() -> None:
    numbers = [plan.number for plan in PLANNED]
    assert numbers == sorted(set(numbers))
    assert all(len(plan.summary.split()) >= 4 and not plan.summary.endswith(".") for plan in PLANNED)


@pytest.mark.parametrize("row", catalogue.built(), ids=lambda row: row.name)
def test_every_entry_is_final_frozen_documented_and_lies_in_its_family(row: catalogue.Row) -> None:
    cls = row.cls
    assert cls is not None and identity(cls) == (row.number, row.name)
    assert getattr(cls, "__final__", False) and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert list(sections(cls)) == list(HEADINGS)
    assert row.family == cls.__module__.split(".")[-2] and row.family in set(Family)
    assert cls.__name__.lower() == row.name.replace("_", "")


@pytest.mark.parametrize("row", catalogue.built(), ids=lambda row: row.name)
def test_every_entry_has_its_test_file(row: catalogue.Row) -> None:
    assert row.cls is not None
    kind = row.cls.__module__.split(".")[1]
    assert (Path(__file__).parent / kind / row.family / f"test_i{row.number:02d}_{row.name}.py").exists()


def test_instructions_do_not_import_each_other() -> None:
    for path in Path(strop.instructions.__path__[0]).glob("*/i*.py"):
        assert "from strop.instructions" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("key", [18, "18", "amp_optimizer", "AMP_Optimizer", "amp-optimizer", "mixed_precision", " amp "])
def test_an_entry_is_found_by_number_name_and_alias(key: int | str) -> None:
    assert catalogue.get(key) is AmpOptimizer


def test_the_documents_name_of_fusion_is_an_alias() -> None:
    assert catalogue.get("cuda_kernel_fusion") is catalogue.get(31)


@pytest.mark.parametrize(
    ("key", "words"),
    [("amp_optimiser", "Did you mean 'amp_optimizer'"), (99, "numbers run from 1 to 56"), (0, "numbers run"), ("zzz", "Known:")],
)
def test_an_unknown_entry_gets_the_nearest_name(key: int | str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        catalogue.get(key)


def test_a_planned_entry_says_so_but_has_a_row() -> None:
    with pytest.raises(RecipeError, match="27 quantization_aware_training is planned, not built"):
        catalogue.get(27)
    assert catalogue.row(27).cls is None


def test_listing_the_catalogue_imports_no_heavy_package() -> None:
    script = (
        "import sys; from strop import catalogue; catalogue.all();"
        "print([m for m in ('torch', 'openvino', 'onnx', 'onnxruntime', 'nncf', 'transformers') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


RECIPE = """
strop: 1
instructions:
  amp_optimizer: {init_scale: 1e3, opt_level: O2}
  static_quantization:
    symmetric: off
    keep_float: [a, on]
  model_serving_framework:
"""


def test_scalars_are_read_by_field_type() -> None:
    amp, static, serving = catalogue.read_recipe(RECIPE)
    assert amp == AmpOptimizer(init_scale=1000.0, opt_level="O2")
    assert static == StaticQuantization(symmetric=False, keep_float=("a", "on"))
    assert serving.name == "model_serving_framework"


def test_a_recipe_survives_writing_and_reading(tmp_path: Path) -> None:
    recipe = catalogue.read_recipe(RECIPE)
    assert catalogue.read_recipe(catalogue.write_recipe(recipe)) == recipe
    path = tmp_path / "with space 配方.yaml"
    path.write_text(catalogue.write_recipe(recipe), encoding="utf-8")
    assert catalogue.read_recipe(path) == recipe
    assert catalogue.read_recipe(str(path)) == recipe
    assert catalogue.read_recipe(catalogue.write_recipe(Recipe())) == Recipe()
    assert catalogue.recipe_from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("instructions: {}\n", "first line must be 'strop: 1'"),
        ("strop: 2\n", "first line must be"),
        ("strop: 1\ninstruction: {}\n", "Did you mean 'instructions'"),
        ("strop: 1\ninstructions: [amp_optimizer]\n", "must map names to settings"),
        ("strop: 1\ninstructions:\n  amp_optimiser: {}\n", "Did you mean 'amp_optimizer'"),
        ("strop: 1\ninstructions:\n  amp_optimizer: {opt_levle: O1}\n", "Did you mean 'opt_level'"),
        ("strop: 1\ninstructions:\n  amp_optimizer: {opt_level: O7}\n", "'O7' is not one of"),
        ("strop: 1\ninstructions:\n  amp_optimizer: {init_scale: many}\n", "many"),
        ("strop: 1\ninstructions:\n  amp_optimizer: fast\n", "must be a mapping"),
        ("strop: 1\ninstructions:\n  lora_finetuning: {}\n", "planned, not built"),
        ("strop: 1\ninstructions:\n  amp_optimizer: {}\n  amp_optimizer: {}\n", "amp_optimizer appears more than once"),
        ("strop: 1\ninstructions:\n  amp_optimizer: {}\n  amp: {}\n", "18 appears more than once"),
        ("strop: 1\ninstructions: {unclosed\n", "not readable YAML"),
        ("no-such-file.yaml", "cannot be read"),
    ],
)
def test_a_bad_recipe_gets_a_clear_error(text: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        catalogue.read_recipe(text)


def test_a_tag_in_a_recipe_builds_nothing() -> None:
    recipe = catalogue.read_recipe("strop: 1\ninstructions: {amp_optimizer: {opt_level: !!python/name:os.system O2}}\n")
    assert recipe == Recipe([AmpOptimizer(opt_level="O2")])


def test_another_distribution_adds_entries_by_the_same_files(plugin: Path) -> None:
    (plugin / "i61_my_trick.py").write_text(PLUGIN, encoding="utf-8")
    row = catalogue.row("my_trick")
    assert (row.number, row.family, row.summary) == (61, Family.INFERENCE, "Do something of my own")
    recipe = catalogue.read_recipe("strop: 1\ninstructions:\n  my_trick: {rate: 1e-5, on: off}\n")
    assert recipe.to_json() == {"my_trick": {"rate": 1e-5, "on": False}}
    assert issubclass(catalogue.get(61), Instruction)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("i18_again.py", PLUGIN, "share 18"),
        ("i62_amp_optimizer.py", PLUGIN, "share 'amp_optimizer'"),
        ("i27_too_early.py", PLUGIN, "share 27"),
        ("i63_empty.py", "", "exactly one concrete entry; it defines: none"),
        ("i64_two.py", PLUGIN + PLUGIN.replace("class Mine", "class Other").lstrip(), "it defines: Mine, Other"),
    ],
)
def test_a_plugin_that_clashes_or_holds_no_entry_is_an_error(plugin: Path, name: str, text: str, words: str) -> None:
    (plugin / name).write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=words):
        catalogue.all()


def test_an_entry_that_fails_to_import_is_an_error_not_a_gap(plugin: Path) -> None:
    (plugin / "i65_broken.py").write_text("import a_package_that_is_not_there", encoding="utf-8")
    with pytest.raises(ModuleNotFoundError, match="a_package_that_is_not_there"):
        catalogue.all()


def test_a_folder_that_is_no_family_is_an_error(plugin: Path) -> None:
    other = plugin.with_name("elsewhere")
    other.mkdir()
    (other / "i66_lost.py").write_text(PLUGIN, encoding="utf-8")
    with pytest.raises(UsageError, match="folder named after its family"):
        catalogue.all()
