"""Laws over the whole project's text. Each is a function from a syntax tree to findings, tried on a planted offence first."""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE, TESTS = ROOT / "src" / "strop", ROOT / "tests"
OURS = (SOURCE, ROOT / "examples", ROOT / "scripts", ROOT / "benchmarks")
FUNCTION_LINES = 70
LOOP = ("loop/loop.py", "loop/step.py", "loop/state.py", "loop/checkpoint.py", "contract/loop_event.py")
"""What is needed to train: events, steps, epochs, states and their files. The rest of loop/ is what instructions and verbs
bring along: ranks and shards, the losses of a teacher, the watching of health, codes for gradients, a caller's own loop."""
LOOP_LINES = 400
LOOP_IMPORTS = frozenset({"torch", "numpy", "safetensors", "strop"}) | sys.stdlib_module_names
BROAD = {"Exception", "BaseException"}
UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
PIPES = {"src/strop/trial/live.py"}
"""Where a live object is handed to a child process through a private pipe; nothing of it reaches a disk."""

MACHINE = re.compile(r"(/(home|root|tmp|work|Users|mnt|opt)(/|$)|[A-Z]:\\)")
"""How a folder of one particular machine begins."""

Law = Callable[[ast.Module], Iterator[int]]
"""Syntax tree -> line numbers of offences."""


def dotted(node: ast.expr) -> str:
    return ast.unparse(node)


def functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def is_broad(node: ast.expr | None) -> bool:
    if isinstance(node, ast.Tuple):
        return any(map(is_broad, node.elts))
    return node is None or (isinstance(node, ast.Name) and node.id in BROAD)


def swallowed_exceptions(tree: ast.Module) -> Iterator[int]:
    """A broad handler that neither raises, nor uses the error, nor ends the process; ``suppress(Exception)``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler) and is_broad(node.type):
            inside = [part for statement in node.body for part in ast.walk(statement)]
            used = any(isinstance(part, ast.Name) and part.id == node.name for part in inside)
            reported = any(isinstance(part, ast.Call) and "format_exc" in dotted(part.func) for part in inside)
            if not used and not reported and not any(isinstance(part, ast.Raise) for part in inside):
                yield node.lineno
        if isinstance(node, ast.Call) and dotted(node.func).endswith("suppress") and any(map(is_broad, node.args)):
            yield node.lineno


def unsafe_loads(tree: ast.Module) -> Iterator[int]:
    """Unpickling in any form, ``torch.load`` without ``weights_only=True``, YAML that builds objects, ``eval``, ``exec``."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        module, _, name = dotted(node.func).rpartition(".")
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if module in UNPICKLERS and name in {"load", "loads", "Unpickler", "open"}:
            yield node.lineno
        if (module, name) == ("torch", "load") and getattr(keywords.get("weights_only"), "value", None) is not True:
            yield node.lineno
        if f"{module}.{name}" in {"numpy.load", "np.load"} and getattr(keywords.get("allow_pickle"), "value", False) is not False:
            yield node.lineno
        if (module, name) in {("yaml", "unsafe_load"), ("yaml", "full_load"), ("", "eval"), ("", "exec")}:
            yield node.lineno
        if (module, name) == ("yaml", "load"):
            loader = dotted(keywords["Loader"]) if "Loader" in keywords else ""
            if loader not in {"yaml.SafeLoader", "yaml.CSafeLoader", "yaml.BaseLoader"} and loader not in safe_loaders(tree):
                yield node.lineno


def safe_loaders(tree: ast.Module) -> set[str]:
    """Classes of the module that narrow a safe YAML loader."""
    safe = {"yaml.SafeLoader", "yaml.BaseLoader"}
    return {
        node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and {dotted(base) for base in node.bases} & safe
    }


def absolute_paths(tree: ast.Module) -> Iterator[int]:
    """Text that names a folder of one particular machine."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and MACHINE.match(node.value):
            yield node.lineno


def long_functions(tree: ast.Module) -> Iterator[int]:
    """Functions longer than a screen."""
    for node in functions(tree):
        if (node.end_lineno or node.lineno) - node.lineno + 1 > FUNCTION_LINES:
            yield node.lineno


def stubs(tree: ast.Module) -> Iterator[int]:
    """Functions that are not abstract and yet only raise ``NotImplementedError``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            abstract = any("abstract" in dotted(d) or "overload" in dotted(d) for d in node.decorator_list)
            body = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
            if (
                not abstract
                and len(body) == 1
                and isinstance(body[0], ast.Raise)
                and "NotImplementedError" in ast.unparse(body[0])
            ):
                yield node.lineno


def mutable_defaults(tree: ast.Module) -> Iterator[int]:
    """Default values that all calls share and can change."""
    for node in functions(tree):
        if any(isinstance(d, ast.List | ast.Dict | ast.Set) for d in (*node.args.defaults, *node.args.kw_defaults)):
            yield node.lineno


def asserts(node: ast.AST, helpers: dict[str, bool]) -> bool:
    """Whether something is checked: an assertion, an expected error, a process that must succeed, a checking helper, a law."""
    for part in ast.walk(node):
        if isinstance(part, ast.Assert):
            return True
        if isinstance(part, ast.Call):
            name = dotted(part.func).rpartition(".")[2]
            must_succeed = any(k.arg == "check" and getattr(k.value, "value", None) is True for k in part.keywords)
            known = name in {"raises", "warns", "fail", "law", "run_laws"} or name.startswith(("assert_", "check_", "law_"))
            if must_succeed or known or helpers.get(name):
                return True
    return False


def unasserted_tests(tree: ast.Module) -> Iterator[int]:
    """Tests that cannot fail by what they find."""
    helpers = {node.name: asserts(node, {}) for node in functions(tree) if not node.name.startswith("test")}
    for node in functions(tree):
        trivial = any(isinstance(p, ast.Assert) and isinstance(p.test, ast.Constant) and p.test.value for p in ast.walk(node))
        if node.name.startswith("test") and (trivial or not asserts(node, helpers)):
            yield node.lineno


SOURCE_LAWS: tuple[Law, ...] = (
    swallowed_exceptions,
    unsafe_loads,
    absolute_paths,
    long_functions,
    stubs,
    mutable_defaults,
)

OFFENCES: list[tuple[Law, str]] = [
    (swallowed_exceptions, "try:\n    f()\nexcept Exception:\n    pass"),
    (swallowed_exceptions, "try:\n    f()\nexcept (ValueError, Exception):\n    x = None"),
    (swallowed_exceptions, "for i in y:\n    try:\n        f()\n    except:\n        continue"),
    (swallowed_exceptions, "with contextlib.suppress(Exception):\n    f()"),
    (unsafe_loads, "torch.load(path)"),
    (unsafe_loads, "torch.load(path, weights_only=False)"),
    (unsafe_loads, "torch.load(\n    path,\n    map_location='cpu',\n)"),
    (unsafe_loads, "pickle.loads(data)"),
    (unsafe_loads, "cloudpickle.load(stream)"),
    (unsafe_loads, "np.load(path, allow_pickle=True)"),
    (unsafe_loads, "yaml.load(text, Loader=yaml.Loader)"),
    (unsafe_loads, "yaml.load(text)"),
    (unsafe_loads, "eval(text)"),
    (absolute_paths, "p = '/home/me/x'"),
    (absolute_paths, "p = f'/tmp/{x}'"),
    (absolute_paths, "p = 'C:\\\\data'"),
    (long_functions, "def f():\n" + "    x = 1\n" * FUNCTION_LINES),
    (stubs, "def f():\n    '''Later.'''\n    raise NotImplementedError"),
    (mutable_defaults, "def f(*, x=[]): ..."),
    (unasserted_tests, "def test_a():\n    f()"),
    (unasserted_tests, "def test_a():\n    assert True"),
    (unasserted_tests, "def look():\n    f()\ndef test_a():\n    look()"),
]

INNOCENT: list[tuple[Law, str]] = [
    (swallowed_exceptions, "try:\n    f()\nexcept ProcessLookupError:\n    pass"),
    (swallowed_exceptions, "try:\n    f()\nexcept Exception as e:\n    raise E from e"),
    (swallowed_exceptions, "try:\n    f()\nexcept Exception as e:\n    send(str(e))"),
    (unsafe_loads, "torch.load(path, map_location='cpu', weights_only=True)"),
    (unsafe_loads, "json.loads(text)"),
    (unsafe_loads, "yaml.safe_load(text)"),
    (unsafe_loads, "class L(yaml.BaseLoader): ...\nyaml.load(text, Loader=L)"),
    (unsafe_loads, "model.eval()"),
    (absolute_paths, "p = '/proc/self/status'"),
    (absolute_paths, "p = 'a/home/b'"),
    (long_functions, "def f():\n" + "    x = 1\n" * (FUNCTION_LINES - 1)),
    (stubs, "@abstractmethod\ndef f():\n    raise NotImplementedError"),
    (mutable_defaults, "def f(x=()): ..."),
    (unasserted_tests, "def test_a():\n    subprocess.run(command, check=True)"),
    (unasserted_tests, "def test_a():\n    with pytest.raises(E):\n        f()"),
    (unasserted_tests, "def look():\n    assert f()\ndef test_a():\n    look()"),
]


def name_of(value: object) -> str:
    return getattr(value, "__name__", "")


@pytest.mark.parametrize(("law", "text"), OFFENCES, ids=name_of)
def test_a_planted_offence_is_found(law: Law, text: str) -> None:
    assert list(law(ast.parse(text)))


@pytest.mark.parametrize(("law", "text"), INNOCENT, ids=name_of)
def test_what_is_allowed_is_left_alone(law: Law, text: str) -> None:
    assert not list(law(ast.parse(text)))


def findings(law: Law, *folders: Path, except_in: frozenset[str] = frozenset()) -> list[str]:
    found = []
    for path in sorted(path for folder in folders for path in folder.rglob("*.py") if "_build" not in path.parts):
        name = path.relative_to(ROOT).as_posix()
        if name not in except_in:
            found += [f"{name}:{line}" for line in law(ast.parse(path.read_text(encoding="utf-8")))]
    return found


@pytest.mark.parametrize("law", SOURCE_LAWS, ids=name_of)
def test_the_source_keeps_the_law(law: Law) -> None:
    allowed = frozenset(PIPES) if law is unsafe_loads else frozenset()
    assert findings(law, *OURS, except_in=allowed) == []


def test_every_test_asserts_something() -> None:
    assert findings(unasserted_tests, TESTS) == []


def test_no_marker_of_unfinished_work_is_left() -> None:
    pattern = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
    paths = [path for folder in (*OURS, TESTS) for path in folder.rglob("*.py")]
    assert [str(path) for path in paths if pattern.search(path.read_text(encoding="utf-8"))] == []


def test_every_instruction_has_its_mirrored_test() -> None:
    entries = [
        path for kind in ("instructions", "inspections", "deliverables") for path in (SOURCE / kind).rglob("i[0-9][0-9]_*.py")
    ]
    mirrored = [TESTS / path.relative_to(SOURCE).with_name(f"test_{path.name}") for path in entries]
    assert entries
    assert [str(path.relative_to(ROOT)) for path in mirrored if not path.exists()] == []


def code_lines(text: str) -> int:
    """Count the lines that hold code: neither blank, nor a comment, nor part of a docstring."""
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type not in layout]
    code = {line for t in tokens for line in range(t.start[0], t.end[0] + 1)}
    told = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
    return len(code - {line for node in told for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)})


def test_lines_of_code_are_those_that_are_neither_blank_nor_told() -> None:
    assert code_lines('"""Doc\nstring."""\n\n# why\nx = (\n    1,  # one\n)\n\n\ndef f():\n    """Doc."""\n    return x\n') == 5


def test_the_training_loop_is_thin_and_needs_torch_alone() -> None:
    texts = [(SOURCE / name).read_text(encoding="utf-8") for name in LOOP]
    assert sum(map(code_lines, texts)) <= LOOP_LINES
    imports = [node for text in texts for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in imports if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= LOOP_IMPORTS


def test_tests_have_no_package_files() -> None:
    assert list(TESTS.rglob("__init__.py")) == []
