"""The directories of an embedded server: who uses one, where a short-lived one may stand, and how all traces of it go.

Use is told by file locks, never by recorded pids: the kernel drops a lock with its last user, and a zombie holds none.
The server and each of its children inherit the server's lock, so that a free lock proves that no part of it lives. Only
directories that this module made are ever removed or have their modes changed.
"""

import ctypes
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from billing_worker.demo.pg_binaries import can_everyone_enter
from billing_worker.demo.pg_child import Account, poll

_OWNER_LOCK = "owner.lock"
_SERVER_LOCK = "server.lock"

_PREFIX = "billing-pg-"
# A directory bears this name until its owner holds the lock; nobody clears it away meanwhile.
_UNFINISHED_PREFIX = "billing-new-"

# The kernel allows 104 (macOS) to 108 bytes for a socket's path; Postgres adds "/.s.PGSQL.65535".
_SOCKET_DIRECTORY_BYTES_MAX = 85

_IPC_RMID = 0


class DirectoryInUseError(RuntimeError):
    """Another program, or a server that is still stopping, uses the directory."""


def take_owner_lock(directory: Path, wait_seconds: float) -> int:
    """Hold the directory for this object's life. Closing the returned descriptor gives it back."""
    return _take_lock(directory / _OWNER_LOCK, wait_seconds)


def take_server_lock(directory: Path, wait_seconds: float) -> int:
    """The lock to hand down to a server: once we close ours, it is held for as long as any part of the server lives."""
    return _take_lock(directory / _SERVER_LOCK, wait_seconds)


def make_scratch_directory(account: Account | None) -> tuple[Path, int]:
    """A new directory for what does not outlive one run (sockets, copied binaries), and its owner's lock.

    Clears away those of owners that were killed.
    """
    root = _scratch_root(account)
    _clear_abandoned(root)
    unfinished = Path(tempfile.mkdtemp(prefix=_UNFINISHED_PREFIX, dir=root))
    if account is not None:
        # Entering is open to the server's user; what is inside has modes of its own.
        unfinished.chmod(0o711)
    owner_lock = take_owner_lock(unfinished, wait_seconds=0)
    return unfinished.rename(root / unfinished.name.replace(_UNFINISHED_PREFIX, _PREFIX)), owner_lock


def make_home(directory: Path, account: Account | None) -> None:
    """Make a lasting directory if it is missing, and see that the server's user can pass through it."""
    if not directory.exists():
        directory.mkdir(parents=True)
        if account is not None:
            directory.chmod(0o711)
    if account is not None and not can_everyone_enter(directory):
        raise PermissionError(
            f"{directory} is closed to user nobody, as whom PostgreSQL runs when root starts it: choose a "
            "directory that every user may enter, such as one below /var/lib"
        )


def make_directory_for(account: Account | None, directory: Path) -> Path:
    """The directory, made if it is missing, 0700 and the server's own."""
    directory.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        os.chown(directory, account.uid, account.gid)
    return directory


def remove_directory(directory: Path) -> None:
    """Remove the directory whole; what is gone already is no error."""
    shutil.rmtree(directory, ignore_errors=True)


def remove_shared_memory(postmaster_file: Path) -> None:
    """Give back the System V segment that a killed postmaster of this directory left.

    Its file names key and id; the segment goes only if the key still leads to that id, for ids are used again.
    """
    try:
        key, segment_id = map(int, postmaster_file.read_text(encoding="utf-8").splitlines()[6].split())
    except (FileNotFoundError, IndexError, ValueError):
        return
    libc = ctypes.CDLL(None)
    if libc.shmget(ctypes.c_int(key), 0, 0) == segment_id:
        libc.shmctl(segment_id, _IPC_RMID, None)


def _take_lock(path: Path, wait_seconds: float) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if poll(lambda: _try_lock(descriptor), wait_seconds):
        return descriptor
    os.close(descriptor)
    raise DirectoryInUseError(f"{path.parent} is in use by another embedded server")


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _scratch_root(account: Account | None) -> Path:
    for root in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):  # noqa: S108 - names inside are random
        length = len(os.fsencode(root / f"{_PREFIX}12345678" / "run"))
        if not root.is_dir() or not os.access(root, os.W_OK | os.X_OK) or length > _SOCKET_DIRECTORY_BYTES_MAX:
            continue
        if account is None or can_everyone_enter(root):
            return root
    raise RuntimeError("no temporary directory that the server's user can enter and whose path is short: set TMPDIR")


def _clear_abandoned(root: Path) -> None:
    for directory in root.glob(f"{_PREFIX}*"):
        try:
            if directory.is_symlink() or directory.stat().st_uid != os.geteuid():
                continue
            locks = [take_owner_lock(directory, wait_seconds=0), take_server_lock(directory, wait_seconds=0)]
        except (DirectoryInUseError, OSError):
            # In use, or cleared away by another at this moment.
            continue
        remove_shared_memory(directory / "data" / "postmaster.pid")
        remove_directory(directory)
        for lock in locks:
            os.close(lock)
