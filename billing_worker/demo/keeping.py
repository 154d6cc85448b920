"""What --keep leaves running: how to reach each part, what to try with it, and the wait until Ctrl-C.

The settings of the demo's worker are put into a file that only its owner can read, so that no password is printed.
"""

import contextlib
import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from billing_worker.clock import SystemClock
from billing_worker.demo.children import Program
from billing_worker.demo.show import Show
from billing_worker.demo.stage import AUDITOR, WORKER, Stage

_LOOK_SECONDS = 0.5


def addresses(stage: Stage, crew: Sequence[Program]) -> dict[str, object]:
    """Where everything is, for people and programs."""
    return {
        "psql_auditor": stage.postgres.psql_command(user=AUDITOR),
        "psql_worker": stage.postgres.psql_command(user=WORKER),
        "simulator": stage.portone.url,
        "simulator_control": stage.portone.control_url,
        "settings_file": str(_settings_file(stage)),
        "workers": {worker.name: f"http://{worker.wait_for('address', event='web.listening')}" for worker in crew},
        "worker_pids": {worker.name: worker.pid for worker in crew},
    }


def stay(stage: Stage, crew: Sequence[Program], show: Show) -> None:
    """Say how to play with it, and wait for Ctrl-C."""
    if not show.is_for_programs:
        _say_how(addresses(stage, crew), crew, show)
    # Whoever plays may kill workers too, so nothing is watched here.
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            time.sleep(_LOOK_SECONDS)


def _say_how(where: Mapping[str, object], crew: Sequence[Program], show: Show) -> None:
    show.line("\nEverything keeps running until Ctrl-C.\n")
    show.line(f"  the ledger, as the auditor   {where['psql_auditor']}")
    show.line(f"  the same, as the worker      {where['psql_worker']}")
    show.line(f"  PortOne's truth              {where['simulator_control']}/truth?summary=1")
    workers = where["workers"]
    assert isinstance(workers, dict)
    for name, url in workers.items():
        show.line(f"  {name}                     {url}/metrics  {url}/readyz")
    show.line("\nFour things to try, in another terminal:\n")
    program = shlex.quote(str(Path(sys.executable).with_name("billing-worker")))
    today = SystemClock().now().astimezone(ZoneInfo("Asia/Seoul")).date()
    yesterday, tomorrow = today - timedelta(days=1), today + timedelta(days=1)
    show.line(f"  set -a; . {where['settings_file']}; set +a   # once: the settings of the demo's workers")
    show.line(f"  1  {program} ledger tail --limit 5")
    show.line(
        f"  2  printf bk-drop-charged-mine | {program} subscriptions add --business-key mine --customer-id me "
        f"--customer-name 나 --order-name 체험 --amount 9900 --anchor-on {yesterday} --billing-key-file -; "
        f"sleep 3; {program} subscriptions show mine"
    )
    show.line(
        f"  3  printf bk-ok-booked | {program} subscriptions add --business-key booked --customer-id me "
        f"--customer-name 나 --order-name 예약 --amount 9900 --anchor-on {tomorrow} --mode schedule "
        f"--billing-key-file -; sleep 3; {program} schedules list; "
        f"{program} subscriptions cancel booked --reason 체험; sleep 3; {program} subscriptions show booked"
    )
    show.line(f"  4  kill -9 {crew[0].pid}; {program} status   # one worker less, and nothing is lost")


def _settings_file(stage: Stage) -> Path:
    """The settings of a worker as a file for a shell."""
    settings = {key: value for key, value in stage.worker_settings().items() if key != "BILLING_WORKER_NAME"}
    file = stage.directory / "worker.env"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
        opened.writelines(f"{key}={shlex.quote(value)}\n" for key, value in settings.items())
    return file
