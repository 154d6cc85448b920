"""What is in config/ agrees with the settings, with the metrics and with what reads it."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from billing_worker.settings import Settings, documented, load_settings
from billing_worker.settings.sources import SECRETS
from billing_worker.telemetry import Metrics

CONFIG = Path(__file__).resolve().parents[2] / "config"
UNITS = sorted((CONFIG / "systemd").glob("*.service"))
MANIFESTS = sorted(path for path in (CONFIG / "k8s").glob("*.yaml") if path.name != "kustomization.yaml")
DEFAULTS = Settings(
    database_url="postgresql://",
    portone_api_secret="none",
    portone_store_id="none",  # type: ignore[arg-type]
)
ROOM_SECONDS = 10  # between the grace and the kill: logs, sockets and the interpreter's own end


def unit(name: str) -> dict[str, str]:
    """A unit's settings, the last of each; sections do not share keys that we ask for."""
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment]
    parser.read(CONFIG / "systemd" / name)
    return {key: value for section in parser.sections() for key, value in parser.items(section)}


def manifest(name: str) -> dict[str, Any]:
    """The only document of a Kubernetes file."""
    document = yaml.safe_load((CONFIG / "k8s" / name).read_text())
    assert isinstance(document, dict)
    return document


def rules() -> list[dict[str, Any]]:
    """All alerting rules."""
    groups = yaml.safe_load((CONFIG / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def test_env_example_has_every_setting_with_its_default_and_its_reason() -> None:
    text = " ".join(line.removeprefix("#").strip() for line in (CONFIG / "env.example").read_text().splitlines())
    lines = (CONFIG / "env.example").read_text().splitlines()

    missing = [row.name for row in documented() if not any(re.match(f"#?{row.name}=", line) for line in lines)]
    unexplained = [row.name for row in documented() if row.description not in text]
    wrong = [row.name for row in documented() if row.source == "default" and f"#{row.name}={row.value}" not in lines]

    assert missing == []
    assert unexplained == []
    assert wrong == []


def test_env_example_has_nothing_that_is_no_setting() -> None:
    given = re.findall(r"^#?(BILLING_[A-Z_]+)=(.*)$", (CONFIG / "env.example").read_text(), re.MULTILINE)

    settings = load_settings(dict(given))

    assert {name for name, _ in given} == {row.name for row in documented()}
    assert settings.portone_live is True


def test_env_example_gives_no_value_that_need_not_be_chosen() -> None:
    active = re.findall(r"^(BILLING_[A-Z_]+)=", (CONFIG / "env.example").read_text(), re.MULTILINE)

    assert active == ["BILLING_PORTONE_STORE_ID"]


def test_systemd_waits_longer_than_the_shutdown_grace() -> None:
    stop = unit("billing-worker.service")["TimeoutStopSec"]

    assert int(stop.removesuffix("s")) >= DEFAULTS.shutdown_grace_seconds + ROOM_SECONDS


def test_systemd_never_gives_up_starting_and_leaves_no_core() -> None:
    worker = unit("billing-worker.service")

    assert worker["Restart"] == "on-failure"
    assert worker["StartLimitIntervalSec"] == "0"
    assert worker["LimitCORE"] == "0"


def test_systemd_gives_exactly_the_secrets_there_are() -> None:
    text = (CONFIG / "systemd" / "billing-worker.service").read_text()

    assert set(re.findall(r"^#?LoadCredential=(\w+):", text, re.MULTILINE)) == SECRETS
    assert unit("billing-worker.service")["Type"] == "notify"
    assert unit("billing-worker.service")["KillMode"] == "mixed"


def test_the_migration_runs_before_the_worker_and_knows_no_secret_of_portone() -> None:
    migrate = unit("billing-worker-migrate.service")

    assert migrate["Before"] == "billing-worker.service"
    assert migrate["LoadCredential"].startswith("database_url:")
    assert "portone" not in (CONFIG / "systemd" / "billing-worker-migrate.service").read_text()


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_accepts_the_unit_and_finds_it_confined(path: Path, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    # The program is not installed on the machine that tests, and verify wants it to exist.
    (tmp_path / path.name).write_text(re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", path.read_text()))

    verified = run("systemd-analyze", "verify", str(tmp_path / path.name))
    confined = run("systemd-analyze", "security", "--offline=true", "--threshold=20", str(tmp_path / path.name))

    assert (verified.returncode, verified.stderr) == (0, "")
    assert confined.returncode == 0, confined.stdout


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """The ended command."""
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_kubernetes_waits_longer_than_the_shutdown_grace() -> None:
    pod = manifest("deployment.yaml")["spec"]["template"]["spec"]

    assert pod["terminationGracePeriodSeconds"] >= DEFAULTS.shutdown_grace_seconds + ROOM_SECONDS


def test_the_configmap_and_the_secrets_are_settings_that_load(tmp_path: Path) -> None:
    environ = dict(manifest("configmap.yaml")["data"])
    secrets, migrator = yaml.safe_load_all((CONFIG / "k8s" / "secret.example.yaml").read_text())
    for name, value in secrets["stringData"].items():
        (tmp_path / name).write_text(value)
    mounted = manifest("deployment.yaml")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"][0]["mountPath"]
    named, environ["BILLING_SECRETS_DIR"] = environ["BILLING_SECRETS_DIR"], str(tmp_path)

    settings = load_settings(environ)

    assert named == mounted
    assert set(secrets["stringData"]) == SECRETS
    assert set(migrator["stringData"]) == {"database_url"}
    assert settings.http_address.endswith(":9464")


@pytest.mark.parametrize("name", ["deployment.yaml", "migrate-job.yaml"])
def test_pods_are_confined_and_see_no_variables_of_other_services(name: str) -> None:
    pod = manifest(name)["spec"]["template"]["spec"]
    container = pod["containers"][0]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_only_readiness_asks_the_database_and_all_probes_fit_the_port() -> None:
    container = manifest("deployment.yaml")["spec"]["template"]["spec"]["containers"][0]

    paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")}

    assert paths == {"startup": "/livez", "liveness": "/livez", "readiness": "/readyz"}
    assert container["ports"] == [{"name": "http", "containerPort": 9464}]


def test_the_budget_and_the_policy_select_the_deployments_pods() -> None:
    labels = manifest("deployment.yaml")["spec"]["template"]["metadata"]["labels"]
    budget = manifest("pdb.yaml")["spec"]["selector"]["matchLabels"]
    policy = manifest("network-policy.yaml")["spec"]["podSelector"]["matchLabels"]

    assert budget.items() <= labels.items()
    assert policy.items() <= labels.items()


def test_kustomize_lists_every_manifest_but_the_secrets() -> None:
    listed = manifest("kustomization.yaml")["resources"]

    assert sorted(listed) == [path.name for path in MANIFESTS if path.name != "secret.example.yaml"]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_only_for_metrics_that_are_exported(rule: dict[str, Any]) -> None:
    asked = set(re.findall(r"\bbilling_\w+", rule["expr"]))

    assert asked
    assert asked <= Metrics().names()
    assert rule["labels"]["severity"] in {"warning", "page"}
    assert set(rule["annotations"]) == {"summary", "action"}


def test_alerts_wake_people_when_the_settings_say_so() -> None:
    limits = {
        rule["alert"]: float(rule["expr"].rpartition("> ")[2]) for rule in rules() if "Unresolved" in rule["alert"]
    }

    assert limits == {
        "BillingUnresolved": DEFAULTS.unresolved_warn_seconds,
        "BillingUnresolvedTooLong": DEFAULTS.unresolved_page_seconds,
    }


def test_outcomes_that_alerts_name_are_outcomes_that_are_counted() -> None:
    named = {
        (metric, outcome)
        for rule in rules()
        for metric, outcome in re.findall(r'(billing_\w+)\{outcome="(\w+)"', rule["expr"])
    }
    registry = Metrics().registry
    counted = [registry.get_sample_value(metric, {"outcome": outcome}) for metric, outcome in sorted(named)]

    assert {metric for metric, _ in named} == {"billing_charges_total", "billing_revocations_total"}
    assert None not in counted
