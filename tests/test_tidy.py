"""The house rules that a program can check: sizes, words, what is caught, who waits, and where links lead."""

import ast
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = sorted((ROOT / "billing_worker").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

BANNED_WORDS = {
    "process", "processes", "processor", "handle", "handles", "handler", "handlers", "manage", "manages", "manager",
    "managers", "data", "info", "infos", "util", "utils", "service", "services", "helper", "helpers",
}  # fmt: skip

# Names that others gave: methods that a library calls or that mirror one, a field of PortOne's, a word of Kubernetes.
NAMES_OF_OTHERS = {
    "data_received", "handle_async_request", "info",
    "custom_data",
    "_SERVICE_LINK",
}  # fmt: skip

# Parts of words, so that this list does not find itself.
UNFINISHED = re.compile("|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X\\b", "HA" + "CK\\b"]))
INDEX_HOSTS = re.compile("|".join(["pypi" + r"\.org", "python" + "hosted", "npm" + r"js\.(org|com)", "/opt/" + "pypi"]))
MACHINE_PATHS = re.compile("|".join(["/work" + "/(main|shared)", "/root" + "/", "/home" + "/[a-z]", "/Users" + "/"]))

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)[^)]*\)")
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def our_files() -> list[Path]:
    """Every file that is or would be committed."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


def our_texts() -> Iterator[tuple[Path, str]]:
    for path in our_files():
        yield path, path.read_text(encoding="utf-8", errors="replace")


def lines_that_match(pattern: re.Pattern[str], left_out: Callable[[Path], bool] = lambda _path: False) -> list[str]:
    return [
        f"{name_of(path)}:{number}: {line.strip()[:100]}"
        for path, text in our_texts()
        if not left_out(path)
        for number, line in enumerate(text.splitlines(), start=1)
        if pattern.search(line)
    ]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def defined_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The names that a module itself gives: functions, classes, parameters, variables and attributes it assigns."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.lineno, node.name
            case ast.arg():
                yield node.lineno, node.arg
            case ast.Name(ctx=ast.Store()):
                yield node.lineno, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node.lineno, node.attr


def words(name: str) -> set[str]:
    return {word.lower() for part in name.split("_") for word in WORD.findall(part)}


@pytest.mark.parametrize("path", [*PRODUCT, *TESTS], ids=name_of)
def test_a_module_and_its_functions_fit_the_eye(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)

    lines = len(text.splitlines())
    long_functions = [
        f"{function.name} has {(function.end_lineno or 0) - function.lineno + 1} lines"
        for function in functions(tree)
        if (function.end_lineno or 0) - function.lineno + 1 > FUNCTION_LINES_MAX
    ]

    assert lines <= MODULE_LINES_MAX
    assert long_functions == []


@pytest.mark.parametrize("path", PRODUCT, ids=name_of)
def test_a_module_opens_by_saying_what_it_decides(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))

    assert not tree.body or ast.get_docstring(tree)


@pytest.mark.parametrize("path", PRODUCT, ids=name_of)
def test_names_say_more_than_the_banned_words(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))

    names = [*defined_names(tree), (1, path.stem)]
    banned = [
        f"line {line}: {name}" for line, name in names if words(name) & BANNED_WORDS and name not in NAMES_OF_OTHERS
    ]

    assert banned == []


@pytest.mark.parametrize("path", [*PRODUCT, *TESTS], ids=name_of)
def test_only_the_sweep_catches_everything(path: Path) -> None:
    caught = [
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ExceptHandler)
    ]

    too_wide = [f"line {node.lineno}" for node in caught if catches_everything(node)]

    assert too_wide == [] or path == ROOT / "billing_worker" / "workers" / "sweep.py"


def catches_everything(node: ast.ExceptHandler) -> bool:
    """Whether it stops any exception. One that ends by raising again stops none."""
    if isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None:
        return False
    caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"}) for kind in caught
    )


def may_sleep(path: Path) -> bool:
    """A benchmark looks at what it measures in a steady rhythm, and PortOne's own test channel is asked politely."""
    return path.parent.name == "benchmarks" or path == ROOT / "tests" / "contract" / "channel.py"


@pytest.mark.parametrize("path", [path for path in TESTS if not may_sleep(path)], ids=name_of)
def test_no_test_sleeps(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    polling = [function for function in functions(tree) if function.name == "eventually" and path.stem == "builders"]
    allowed = {id(node) for function in polling for node in ast.walk(function)}

    sleeps = [f"line {node.lineno}" for node in ast.walk(tree) if is_sleep(node) and id(node) not in allowed]

    assert sleeps == []


def is_sleep(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    yields_only = bool(node.args) and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
    return called == "sleep" and not yields_only


def test_nothing_is_left_unfinished() -> None:
    assert lines_that_match(UNFINISHED, left_out=lambda path: path.name == "LICENSE") == []


def test_no_file_names_a_package_index() -> None:
    assert lines_that_match(INDEX_HOSTS) == []


def test_no_file_names_a_path_of_somebody_s_machine() -> None:
    assert lines_that_match(MACHINE_PATHS) == []


def test_links_in_documents_lead_somewhere() -> None:
    documents = [(path, text) for path, text in our_texts() if path.suffix == ".md"]

    broken = [
        f"{name_of(path)}: {target}"
        for path, text in documents
        for target in LINK.findall(text)
        if "://" not in target and not target.startswith(("#", "mailto:"))
        if not (path.parent / target.split("#")[0]).exists()
    ]

    assert broken == []
