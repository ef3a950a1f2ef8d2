"""The rules of the house that a machine can check: layers, sizes, names, docstrings, errors, nothing unused."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("storage", "engine", "sql", "repl")  # each may import itself and what stands before it
LINES_MAX = 400
EMPTY_NAMES = {"utils", "util", "common", "core", "helpers", "helper", "manager", "misc"}
UNHELPFUL_WORDS = re.compile(r"\b(invalid|bad|illegal|unable|failed to)\b", re.IGNORECASE)
SOURCES = sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))
PYTHON = sorted(
    [*SOURCES, *(ROOT / "headrace").glob("*.py")]
    + [path for folder in ("tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")]
)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def module_of(path: Path) -> tuple[str, ...]:
    """`engine/operators/map.py` as ("engine", "operators", "map")."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def imported(path: Path) -> Iterator[tuple[tuple[str, ...], int]]:
    """What a source file imports of our own, as module paths below `headrace` that may end in a name; with the line."""
    package = module_of(path) if path.name == "__init__.py" else module_of(path)[:-1]
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1]
            stem = (*base, *(node.module.split(".") if node.module else ()))
            for alias in node.names:
                yield (*stem, alias.name), node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "headrace":
            for alias in node.names:
                yield (*node.module.split(".")[1:], alias.name), node.lineno
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "headrace":
                    yield tuple(alias.name.split(".")[1:]), node.lineno


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_layer_imports_itself_and_what_is_below_it(path: Path) -> None:
    own = path.relative_to(ROOT).parts[0]
    allowed = LAYERS[: LAYERS.index(own) + 1]
    for target, line in imported(path):
        if own == "repl" and (not target or target[0] not in LAYERS):
            continue  # what people type into stands above the public names too
        assert target, f"{name_of(path)}:{line} imports the whole package"
        assert target[0] in allowed, f"{name_of(path)}:{line} imports {'.'.join(target)}, which is above {own}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_inside_the_package_are_relative(path: Path) -> None:
    if path.relative_to(ROOT).parts[0] == "repl":
        return  # it may say `import headrace`, as any user of the public names does
    for node in ast.walk(tree(path)):
        modules = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            modules = [node.module or ""]
        for module in modules:
            assert module.split(".")[0] not in ("headrace", *LAYERS), f"{name_of(path)}:{node.lineno} {module}"


@pytest.mark.parametrize("path", PYTHON, ids=name_of)
def test_a_file_is_one_idea(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= LINES_MAX, f"{len(lines)} lines: more than one idea?"
    assert ast.get_docstring(tree(path)), "the first line says which idea it is"
    assert lines[0].startswith('"""'), "the docstring comes first"
    assert path.stem not in EMPTY_NAMES, "a name that says nothing"
    assert not EMPTY_NAMES & set(path.relative_to(ROOT).parent.parts), "a folder's name that says nothing"


def test_every_operator_says_what_it_keeps() -> None:
    silent = []
    for path in sorted((ROOT / "engine" / "operators").glob("*.py")):
        for node in tree(path).body:
            if isinstance(node, ast.ClassDef) and any(
                isinstance(base, ast.Name) and base.id in ("Operator", "ResultHolder") for base in node.bases
            ):
                docstring = ast.get_docstring(node) or ""
                if not re.search(r"^State: \S", docstring, re.MULTILINE):
                    silent.append(f"{name_of(path)}: {node.name}")
    assert not silent, f"no State: line in the docstring of {silent}"


def test_every_module_is_used() -> None:
    ours = [*SOURCES, *(ROOT / "headrace").glob("*.py")]
    used = {target[:length] for path in ours for target, _ in imported(path) for length in (1, 2, 3)}
    modules = {module_of(path) for path in SOURCES if path.name not in ("__init__.py", "__main__.py")}
    unused = sorted(".".join(module) for module in modules - used)
    assert not unused


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_errors_begin_as_rule_10_says(path: Path) -> None:
    for node in ast.walk(tree(path)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute) and node.args):
            continue
        called = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        headline = text_of(node.args[0])
        if not called.endswith("Error") or headline is None:
            continue
        place = f"{name_of(path)}:{node.lineno}: {headline!r}"
        assert not UNHELPFUL_WORDS.search(headline), place
        assert not headline.endswith((".", "!")), f"{place}: a headline has no full stop"
        first = headline.split(" ")[0]
        assert not first[:1].isupper() or first.isupper() or not first.isalpha(), f"{place}: a headline is lower case"


def text_of(node: ast.expr) -> str | None:
    """A string's constant text, an f-string's values shown as `{}`; None for anything else."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=values):
            return "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in values)
        case _:
            return None


def test_the_readme_maps_the_folders() -> None:
    readme = (ROOT / "README.md").read_text()
    mapped = set(re.findall(r"^([a-z_.]+)/ ", readme[readme.index("\n## Map\n") :], re.MULTILINE))
    generated = {"build", "dist", "db", "__pycache__"}
    actual = {
        path.name
        for path in ROOT.iterdir()
        if path.is_dir() and (path.name == ".ci" or path.name[0] != ".") and path.suffix != ".egg-info"
    }
    assert mapped == actual - generated


def test_the_package_holds_links_and_public_names_only() -> None:
    found = {path.name for path in (ROOT / "headrace").iterdir()} - {"__pycache__"}
    assert found == {"__init__.py", "__main__.py", "py.typed", *LAYERS}
    for layer in LAYERS:
        link = ROOT / "headrace" / layer
        assert link.is_symlink()
        assert link.readlink() == Path("..") / layer


def test_slot_arrays_are_written_to_by_their_methods() -> None:
    """Else a checkpoint under way would have what an epoch after it wrote (decision 0032)."""
    found = []
    for path in SOURCES:
        if path.name == "slot_array.py":
            continue
        for node in ast.walk(tree(path)):
            written: list[ast.expr] = []
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
                written = [node.value]
            elif isinstance(node, ast.Call):
                written = [keyword.value for keyword in node.keywords if keyword.arg == "out"]
                if isinstance(node.func, ast.Attribute) and node.func.attr == "at":
                    written += node.args[:1]
            written = [target.value if isinstance(target, ast.Subscript) else target for target in written]
            if any(isinstance(target, ast.Attribute) and target.attr == "values" for target in written):
                found.append(f"{name_of(path)}:{node.lineno}")
    assert found == []
