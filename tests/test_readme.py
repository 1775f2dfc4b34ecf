"""What the README shows must be true: code runs, commands and options exist, targets, extras, files and counts too."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

import strop
from strop import catalogue
from strop.cli import root

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
LONGEST = 90


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def shell_lines(text: str = README) -> list[list[str]]:
    lines = [shlex.split(line, comments=True) for block in blocks("sh", text) for line in block.splitlines()]
    return [line for line in lines if line]


def problem(words: Sequence[str]) -> str | None:
    """Say what is wrong with a ``strop …`` command line, by the command's own parameters; ``None`` when it fits."""
    context = click.Context(root)
    command = root.get_command(context, words[1]) if len(words) > 1 else None
    if command is None:
        return f"no command {words[1:2]}"
    known = {name: p for p in command.params if isinstance(p, click.Option) for name in (*p.opts, *p.secondary_opts)}
    places = sum(1 if p.nargs > 0 else 10**6 for p in command.params if isinstance(p, click.Argument))
    required = sum(p.required for p in command.params if isinstance(p, click.Argument))
    required_options = {p.opts[0] for p in command.params if isinstance(p, click.Option) and p.required}
    rest, given = iter(words[2:]), 0
    for word in rest:
        if not word.startswith("--"):
            given += 1
            continue
        if word not in known:
            return f"{words[1]} has no option {word}"
        required_options.discard(word)
        if not known[word].is_flag and next(rest, None) is None:
            return f"{word} has no value"
    if not required <= given <= places:
        return f"{words[1]} takes {required} arguments; {given} are given"
    return f"{sorted(required_options)} missing" if required_options else None


def test_every_kind_of_block_is_checked() -> None:
    assert set(re.findall(r"^```(\w+)$", README, flags=re.MULTILINE)) == {"sh", "python"}
    assert len(blocks("sh")) >= 3
    assert len(blocks("python")) >= 2


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.strip().splitlines()[-1][:30])
def test_python_blocks_compile_and_name_public_things(block: str) -> None:
    tree = ast.parse(block)
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "strop"
    }
    assert used
    assert used <= set(strop.__all__)


def test_the_live_workload_can_be_built() -> None:
    block = next(block for block in blocks("python") if "InferenceWorkload" in block)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    workload = names["workload"]
    assert isinstance(workload, strop.InferenceWorkload)
    assert set(workload.splits) == {"calibration", "screening", "confirming"}
    assert tuple(workload.model()(workload.inputs["batch 1"][0]).shape) == (1, 10)


def test_the_verbs_take_the_arguments_that_are_shown() -> None:
    import inspect

    for block in blocks("python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("strop."):
                function = getattr(strop, ast.unparse(node.func).removeprefix("strop."))
                keywords = {str(keyword.arg): None for keyword in node.keywords}
                inspect.signature(function).bind(*node.args, **keywords)
                assert set(keywords) <= set(inspect.signature(function).parameters)


@pytest.mark.parametrize("words", [words for words in shell_lines() if words[0] == "strop"], ids=" ".join)
def test_commands_and_options_exist(words: list[str]) -> None:
    assert problem(words) is None


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("strop optimise x.py", "no command"),
        ("strop optimize x.py --fast", "no option --fast"),
        ("strop optimize", "takes 1 arguments; 0 are given"),
        ("strop verify a b", "takes 1 arguments; 2 are given"),
        ("strop optimize x.py --budget", "has no value"),
        ("strop apply a.yaml b.py", "--out"),
    ],
)
def test_a_wrong_command_line_is_found(line: str, what: str) -> None:
    assert what in str(problem(line.split()))


def test_nothing_but_known_programs_is_shown() -> None:
    assert {words[0] for words in shell_lines()} == {"make", "strop"}


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    shown = {words[1] for words in shell_lines() if words[0] == "make"}
    assert {"demo", "test"} <= shown <= targets


def test_extras_exist() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    shown = [name for group in re.findall(r"strop\[([\w,]+)\]", README) for name in group.split(",")]
    assert shown
    assert set(shown) <= set(extras)


def test_links_and_workloads_lead_somewhere() -> None:
    places = re.findall(r"\]\((?!http)([^)#]+)\)", README) + re.findall(r"examples/[\w/]+\.py", README)
    assert places
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_the_counts_are_the_catalogue_s() -> None:
    line = re.search(r"has (\d+) numbers: (\d+) built, (\d+) planned", README)
    assert line is not None
    assert [int(count) for count in line.groups()] == [len(catalogue.all()), len(catalogue.built()), len(catalogue.planned())]


def test_it_stays_one_screen() -> None:
    assert len(README.splitlines()) <= LONGEST


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "ARCHITECTURE.md", "SECURITY.md", "CHANGELOG.md"])
def test_other_documents_link_to_what_exists(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    places = re.findall(r"\]\((?!http)([^)#]+)\)", text)
    assert [place for place in places if not (ROOT / place).exists()] == []
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets
    assert [words for words in shell_lines(text) if words[0] == "strop" and problem(words)] == []


def test_the_licence_is_the_one_that_is_declared() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"] == "Apache-2.0"
