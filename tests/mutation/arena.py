"""The arena: runs the tests that reach a mutated function against the mutant, each mutant in a fork of its own.

Nothing on disk is changed. A mutant of a function's body is put in the place of that body after the tests have been
collected, which takes milliseconds. What is decided while a module is imported (tables, defaults, classes) is tried in
a fork that imports the worker and its tests anew.
"""

import gc
import importlib.util
import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, FrameType, FunctionType, ModuleType

import hypothesis
import pytest

from tests.mutation.mutants import ROOT, Mutant

# Fast, without a database or a network. What starts programs of its own would test the files on disk.
TESTS = "tests/unit"
LEFT_OUT = {"test_packaging.py", "test_cli_docs.py", "test_cli_output.py", "test_config_files.py", "test_telemetry.py"}

# A mutant that makes a loop endless or a number huge is as dead as one whose test fails.
SECONDS_MIN = 20.0
SECONDS_FACTOR = 10.0
MEMORY_BYTES_MORE = 2 * 2**30

_SURVIVED, _KILLED, _NOT_RUN = 0, 1, 5

# To look for plugins among all that is installed takes longer than most mutants live.
_PLUGINS = (
    *("pytest_asyncio.plugin", "_hypothesis_pytestplugin"),
    *("no:unraisableexception", "no:threadexception", "no:cacheprovider"),
)

Tell = Callable[[Mutant, bool], None]


def test_files() -> list[str]:
    """The tests that take part."""
    found = sorted((ROOT / TESTS).glob("test_*.py"))
    return [str(file.relative_to(ROOT)) for file in found if file.name not in LEFT_OUT]


def try_all(
    paths: Sequence[str], mutants: Sequence[Mutant], *, files: Sequence[str], workers: int, cache: str, tell: Tell
) -> int:
    """Try every mutant and tell whether it was killed. Returns how many tests took part.

    Raises RuntimeError where a test fails without any mutant. Compiled tests are kept in the cache directory.
    """
    sys.pycache_prefix, sys.dont_write_bytecode = cache, False
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    os.chdir(ROOT)
    # The same examples every time: a mutant must not die by luck. What a failing example shrinks to, nobody reads.
    hypothesis.settings.register_profile(
        "mutation",
        derandomize=True,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.settings.load_profile("mutation")
    session = _Session(paths, mutants, workers=workers, tell=tell)
    ended = _run_pytest(session, files)
    if ended != pytest.ExitCode.OK or session.failed:
        raise RuntimeError(f"without any mutant: {session.failed or ended}")
    _run_forks(
        [(mutant, session.tests_for(mutant)) for mutant in session.left],
        _try_anew,
        seconds_of=session.seconds_of,
        workers=workers,
        tell=tell,
    )
    return len(session.seconds_of)


class _Session:
    """One pytest session: every test once, to see what it reaches, and then the mutants of function bodies."""

    def __init__(self, paths: Sequence[str], mutants: Sequence[Mutant], *, workers: int, tell: Tell) -> None:
        self._watched = {str(ROOT / path): path for path in paths}
        self._seen: dict[CodeType, str | None] = {}
        self._now: set[str] = set()
        self._mutants, self._workers, self._tell = mutants, workers, tell
        self._items: dict[str, pytest.Item] = {}
        self._replacements: dict[Mutant, tuple[FunctionType, CodeType]] = {}
        self.functions_of: dict[str, frozenset[str]] = {}
        self.seconds_of: dict[str, float] = {}
        self.left: list[Mutant] = []
        self.failed = ""

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note what cannot even be imported."""
        if report.failed:
            self.failed = report.nodeid

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test that fails without any mutant."""
        if report.failed:
            self.failed = report.nodeid

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """In the place of pytest's own loop."""
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        session.config.pluginmanager.unregister(reporter)
        self._items = {item.nodeid: item for item in session.items}
        for item in session.items:
            self._watch(item)
        if self.failed:
            return True
        gc.freeze()
        for mutant in self._mutants:
            if found := _replacement(mutant):
                self._replacements[mutant] = found
            else:
                self.left.append(mutant)
        jobs = [(mutant, self.tests_for(mutant)) for mutant in self._replacements]
        _run_forks(jobs, self._try_in_place, seconds_of=self.seconds_of, workers=self._workers, tell=self._tell)
        return True

    def tests_for(self, mutant: Mutant) -> list[str]:
        """The tests that may notice the mutant, the likeliest and fastest first."""
        namesake = Path(mutant.path).stem
        wanted = f"{mutant.path}::{mutant.function}"
        # Classes and tables belong to no call: whoever imports the module may notice.
        anybody = not any(wanted in functions for functions in self.functions_of.values())
        chosen = [
            test
            for test, functions in self.functions_of.items()
            if anybody or wanted in functions or _is_namesake(test, namesake)
        ]
        return sorted(chosen, key=lambda test: (not _is_namesake(test, namesake), self.seconds_of[test]))

    def _watch(self, item: pytest.Item) -> None:
        self._now = set()
        started = time.monotonic()
        threading.settrace(self._note)
        sys.settrace(self._note)
        try:
            _run_item(item)
        finally:
            sys.settrace(None)
            threading.settrace(None)
        self.functions_of[item.nodeid] = frozenset(self._now)
        self.seconds_of[item.nodeid] = time.monotonic() - started

    def _note(self, frame: FrameType, _event: str, _argument: object) -> None:
        # Whoever returns None is told of calls alone, and not of every line.
        code = frame.f_code
        if code not in self._seen:
            path = self._watched.get(code.co_filename)
            # A comprehension or an inner function belongs to the function that it is written in.
            name = code.co_qualname.replace(".<locals>", "").split(".<")[0]
            self._seen[code] = f"{path}::{name}" if path else None
        if found := self._seen[code]:
            self._now.add(found)

    def _try_in_place(self, mutant: Mutant, tests: Sequence[str]) -> int:
        function, code = self._replacements[mutant]
        function.__code__ = code
        for test in tests:
            _run_item(self._items[test])
            if self.failed:
                return _KILLED
        return _SURVIVED


class _Chosen:
    """Runs these tests only, in this order, and ends the fork at the first that fails."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._places = {test: place for place, test in enumerate(tests)}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave the others out."""
        chosen = [item for item in items if item.nodeid in self._places]
        items[:] = sorted(chosen, key=lambda item: self._places[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One is enough."""
        if report.failed:
            os._exit(_KILLED)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that cannot be imported any more is noticed by everybody."""
        if report.failed:
            os._exit(_KILLED)


def _try_anew(mutant: Mutant, tests: Sequence[str]) -> int:
    for name in [name for name in sys.modules if name.split(".")[0] in {"billing_worker", "tests"}]:
        # This module is running, and what is mutated has nothing to do with it.
        if not name.startswith("tests.mutation") and name != "tests":
            del sys.modules[name]
    sys.meta_path.insert(0, _MutatedModule(mutant))
    # Most die by the tests named after their module, and then the other files need not even be read.
    namesakes = sum(_is_namesake(test, Path(mutant.path).stem) for test in tests)
    for some in (tests[:namesakes], tests[namesakes:]):
        if some and _run_pytest(_Chosen(some), [test.split("::")[0] for test in some]) != pytest.ExitCode.OK:
            return _KILLED
    return _SURVIVED


@dataclass(frozen=True, slots=True)
class _Running:
    """A mutant that is being tried."""

    mutant: Mutant
    until: float
    lifeline: int


def _run_forks(
    jobs: Sequence[tuple[Mutant, Sequence[str]]],
    work: Callable[[Mutant, Sequence[str]], int],
    *,
    seconds_of: Mapping[str, float],
    workers: int,
    tell: Tell,
) -> None:
    waiting = list(reversed(jobs))
    running: dict[int, _Running] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                mutant, tests = waiting.pop()
                seconds_max = max(SECONDS_MIN, SECONDS_FACTOR * sum(seconds_of[test] for test in tests))
                child, lifeline = _fork(work, mutant, tests)
                running[child] = _Running(mutant, time.monotonic() + seconds_max, lifeline)
            _wait_for_one(running, tell)
    finally:
        for child in running:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _wait_for_one(running: dict[int, _Running], tell: Tell) -> None:
    first_until = min(each.until for each in running.values())
    select.select([each.lifeline for each in running.values()], [], [], max(0.0, first_until - time.monotonic()))
    for child, each in list(running.items()):
        ended, status = os.waitpid(child, os.WNOHANG)
        if not ended and time.monotonic() > each.until:
            os.kill(child, signal.SIGKILL)
            ended, status = os.waitpid(child, 0)
        if ended:
            os.close(running.pop(child).lifeline)
            tell(each.mutant, os.waitstatus_to_exitcode(status) != _SURVIVED)


def _fork(work: Callable[[Mutant, Sequence[str]], int], mutant: Mutant, tests: Sequence[str]) -> tuple[int, int]:
    """The child, and the end of a pipe that can be read when the child has ended."""
    lifeline, held = os.pipe()
    child = os.fork()
    if child:
        os.close(held)
        return child, lifeline
    code = _NOT_RUN
    try:
        silence = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(silence, stream)
        # Memory is not cleared up in a fork that ends at once.
        gc.disable()
        if sys.platform == "linux":
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            bytes_max = pages * resource.getpagesize() + MEMORY_BYTES_MORE
            resource.setrlimit(resource.RLIMIT_AS, (bytes_max, bytes_max))
        code = work(mutant, tests)
    finally:
        # Whatever was raised, a fork must never go on as if it were the parent.
        os._exit(code)


def _run_pytest(plugin: object, files: Sequence[str]) -> int:
    options = ["-x", "-q", "--tb=no", "--no-header", "--capture=sys", "--override-ini=timeout=0"]
    for name in _PLUGINS:
        options += ["-p", name]
    return pytest.main([*options, *dict.fromkeys(files)], plugins=[plugin])


def _run_item(item: pytest.Item) -> None:
    # None follows, so that every fixture is ended with it and the next fork finds none half used.
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)


def _replacement(mutant: Mutant) -> tuple[FunctionType, CodeType] | None:
    """The function whose body the mutant changes, and the changed body; None where it changes anything else."""
    module = sys.modules.get(_module_name(mutant.path))
    function = _outermost_function(module, mutant.function.split(".")) if module and mutant.function else None
    if function is None:
        return None
    changed = compile(mutant.source, str(ROOT / mutant.path), "exec")
    code = _code_named(changed, function.__qualname__)
    if code is None or code == function.__code__:
        # A default or a decorator beside the body: the module has to be imported for that.
        return None
    return (function, code) if code.co_freevars == function.__code__.co_freevars else None


def _outermost_function(module: ModuleType, names: Sequence[str]) -> FunctionType | None:
    found: object = module
    for name in names:
        found = vars(found).get(name) if isinstance(found, ModuleType | type) else None
        if isinstance(found, classmethod | staticmethod):
            found = found.__func__
        if isinstance(found, property):
            found = found.fget
        if isinstance(found, FunctionType):
            return found
    return None


def _code_named(code: CodeType, qualname: str) -> CodeType | None:
    if code.co_qualname == qualname:
        return code
    inner = (_code_named(each, qualname) for each in code.co_consts if isinstance(each, CodeType))
    return next((each for each in inner if each is not None), None)


class _MutatedModule:
    """Finds one module in the mutant instead of on disk."""

    def __init__(self, mutant: Mutant) -> None:
        self._name = _module_name(mutant.path)
        self._path = str(ROOT / mutant.path)
        self._source = mutant.source

    def find_spec(self, name: str, _path: object = None, _target: ModuleType | None = None) -> ModuleSpec | None:
        """What import asks."""
        if name != self._name:
            return None
        loader = _FromMemory(name, self._path, self._source)
        return importlib.util.spec_from_file_location(name, self._path, loader=loader)


class _FromMemory(SourceFileLoader):
    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._source = source

    def get_code(self, _name: str) -> CodeType:
        return compile(self._source, self.path, "exec")


def _module_name(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def _is_namesake(test: str, module: str) -> bool:
    return Path(test.split("::", maxsplit=1)[0]).stem.startswith(f"test_{module}")
