"""``strop.apply``: recipes in every form, workloads in every form, and the caller's model left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import strop
from strop import catalogue
from strop.bundle import read_manifest
from strop.contract.recipe import Recipe
from strop.errors import PrepareError, RecipeError, UsageError, WorkloadError

LAYOUT = "strop: 1\ninstructions: {memory_layout: {channels_last: false, threads: 1}}\n"


def doubled() -> torch.nn.Linear:
    """A model of torch's own classes, so that every process can rebuild it."""
    model = torch.nn.Linear(4, 4, bias=False)
    model.weight.data = 2 * torch.eye(4)
    return model


def live(model: torch.nn.Module) -> strop.InferenceWorkload:
    rows = [torch.ones(1, 4) * i for i in range(1, 4)]
    return strop.InferenceWorkload(model=lambda: model, inputs={"one": rows}, quality=strop.unjudged("a test"), name="live")


def test_a_recipe_is_taken_as_an_object_as_text_and_as_a_file(tiny_workload: Path, place: Path) -> None:
    (place / "recipe.yaml").write_text(LAYOUT)
    forms: list[Any] = [catalogue.read_recipe(LAYOUT), LAYOUT, place / "recipe.yaml", str(place / "recipe.yaml")]
    manifests = [strop.apply(form, tiny_workload, out=place / str(number)) for number, form in enumerate(forms)]
    assert {str(manifest.recipe) for manifest in manifests} == {str(manifests[0].recipe)}
    assert manifests[0].recipe == {"memory_layout": {"channels_last": False, "threads": 1}}
    assert manifests[0].options.threads == 1
    assert manifests[0] == read_manifest(place / "0")
    assert [path.name for path in place.iterdir() if path.name.startswith("run")] == [], "no run directory is left"


def test_a_live_object_is_applied_to_and_stays_as_it_was(place: Path) -> None:
    model = doubled()
    manifest = strop.apply("strop: 1\ninstructions: {engine: {}}\n", live(model), out=place / "bundle")
    assert (manifest.origin.workload, manifest.origin.reference) == ("live", "")
    assert model.training, "the caller's model was not switched to evaluation"
    assert torch.equal(model.weight, 2 * torch.eye(4))
    model.weight.data *= 3
    program = strop.open_bundle(place / "bundle")
    assert torch.as_tensor(program(torch.ones(1, 4))).tolist() == [[2.0] * 4], "the bundle keeps the weights it was made with"
    program.close()


@pytest.mark.parametrize(
    ("recipe", "error", "message"),
    [
        ("strop: 1\ninstructions: {static_quantization: {}}", RecipeError, "which nothing in the recipe adds"),
        ("strop: 1\ninstructions: {memory_layout: {}, engine: {}}", RecipeError, "38 memory_layout excludes"),
        ("strop: 1\ninstructions: {memory_layout: {}}", PrepareError, "declined"),
        ("strop: 1\ninstructions: {kernel_fusion: {}}", PrepareError, "31 kernel_fusion"),
        ("strop: 1\ninstructions: {data_profile: {}}", RecipeError, "01 data_profile is planned, not built"),
        ("nowhere.yaml", RecipeError, "cannot be read"),
    ],
)
def test_a_recipe_that_cannot_be_is_an_error_and_leaves_no_bundle(
    recipe: str, error: type[Exception], message: str, tiny_workload: Path, place: Path
) -> None:
    with pytest.raises(error, match=message):
        strop.apply(recipe, tiny_workload, out=place / "bundle")
    assert not (place / "bundle").exists()


def test_files_of_somebody_else_are_not_replaced_by_a_bundle(tiny_workload: Path, place: Path) -> None:
    (place / "mine").mkdir()
    (place / "mine" / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="holds files that are no bundle"):
        strop.apply(Recipe(), tiny_workload, out=place / "mine")
    (place / "a file").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        strop.apply(Recipe(), tiny_workload, out=place / "a file")
    assert (place / "mine" / "thesis.tex").read_text() == (place / "a file").read_text() == "mine"
    with pytest.raises(UsageError, match="holds files that are no bundle"):
        strop.apply(Recipe(), tiny_workload, out=".")


@pytest.mark.parametrize("theirs", ['{"manifest_version": 3, "name": "an extension"}', None])
def test_a_folder_with_anything_but_a_bundle_is_left_alone(theirs: str | None, tiny_workload: Path, place: Path) -> None:
    """Web pages and extensions have a manifest.json, too; and notes may lie beside a bundle."""
    mine = place / "mine"
    if theirs is None:
        strop.apply(Recipe(), tiny_workload, out=mine)
        (mine / "notes.txt").write_text("mine")
    else:
        mine.mkdir()
        (mine / "manifest.json").write_text(theirs)
    before = sorted(path.name for path in mine.iterdir())
    with pytest.raises(UsageError, match="holds files that are no bundle"):
        strop.apply(Recipe(), tiny_workload, out=mine)
    assert sorted(path.name for path in mine.iterdir()) == before


def test_what_is_no_workload_is_refused(place: Path) -> None:
    with pytest.raises(WorkloadError, match="got a Linear"):
        strop.apply(Recipe(), torch.nn.Linear(1, 1), out=place / "bundle")  # type: ignore[arg-type]


def test_the_seed_decides_about_random_weights(place: Path, workload_text: str) -> None:
    file = place / "files" / "here" / "chance.py"
    file.parent.mkdir(parents=True)
    file.write_text(workload_text.replace("    torch.manual_seed(0)\n", ""))
    x = torch.ones(8, 16)
    answers = []
    for number, seed in enumerate((0, 0, 1)):
        strop.apply(Recipe(), file, out=place / str(number), seed=seed)
        answers.append(strop.open_bundle(place / str(number))(x))
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])
