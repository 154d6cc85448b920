"""Turns itself into another program: gives up root's rights, ties its life to the one who asked, then executes it.

Started by path as `python -I -S pg_launch.py PARENT_PID UID GID WATCH_FD PROGRAM ARGUMENT...` ("-" where there is
none), so it uses the standard library only and must never import the rest of this package. A launcher instead of a hook
between fork and exec, because such a hook may deadlock in a program with threads, and instead of setpriv, which not
every system has.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38


def main(arguments: Sequence[str]) -> None:
    """Become PROGRAM. Returns only by an exception or an exit."""
    parent_pid, uid, gid, watch_fd, *command = arguments
    # The C library is opened while its file is still readable to us: nobody may not look into root's home.
    libc = ctypes.CDLL(None, use_errno=True)
    if uid != "-":
        _become(int(uid), int(gid))
    if watch_fd == "-":
        # A change of user clears the parent-death signal, so it comes second.
        _ask_kernel(libc, _PR_SET_PDEATHSIG, signal.SIGINT)
    else:
        _fork_watcher(int(watch_fd))
    if sys.platform == "linux":
        _ask_kernel(libc, _PR_SET_NO_NEW_PRIVS, 1)
    if os.getppid() != int(parent_pid):
        # The parent died before the tie was made; nobody would ever stop us.
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606 - no shell is what we want


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _ask_kernel(libc: ctypes.CDLL, option: int, value: int) -> None:
    if libc.prctl(option, value, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), f"prctl {option}")


def _fork_watcher(watch_fd: int) -> None:
    """Leave a grandchild that interrupts us when the other end of the pipe closes without a word.

    Where the kernel knows no parent-death signal (macOS). A grandchild, so that PROGRAM does not find a child it never
    made.
    """
    target_pid = os.getpid()
    child_pid = os.fork()
    if child_pid:
        os.waitpid(child_pid, 0)
        os.close(watch_fd)
        return
    if os.fork() == 0 and not os.read(watch_fd, 1):
        os.kill(target_pid, signal.SIGINT)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
