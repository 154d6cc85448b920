"""The settings of the webhook address: off by default, never without a secret, and never showing one."""

from pathlib import Path

import pytest

from billing_worker.settings import SettingsFault, describe, load_settings
from billing_worker.settings.fields import webhook_secrets_of
from tests.webhooks import a_secret

REQUIRED = {
    "BILLING_DATABASE_URL": "postgresql://worker:hunter2hunter2@db.example.com:5432/billing",
    "BILLING_PORTONE_API_SECRET": "s3cret-of-the-console",
    "BILLING_PORTONE_STORE_ID": "store-0001",
}
ADDRESS = {"BILLING_WEBHOOK_ADDRESS": "127.0.0.1:9465"}
ONE, OTHER = (a_secret(seed).get_secret_value() for seed in (1, 2))


def fault_of(environ: dict[str, str]) -> str:
    """What is said of these settings."""
    with pytest.raises(SettingsFault) as caught:
        load_settings(REQUIRED | environ)
    return str(caught.value)


def test_without_an_address_there_are_no_webhooks() -> None:
    settings = load_settings(REQUIRED)

    assert settings.webhook_address is None
    assert webhook_secrets_of(settings.webhook_secrets) == ()
    assert (settings.webhook_path, settings.webhook_body_bytes_max) == ("/webhooks/portone", 65_536)


@pytest.mark.parametrize("given", [f"{ONE},{OTHER}", f"{ONE}\n{OTHER}", f" {ONE} , {OTHER} ,"])
def test_several_secrets_are_given_together(given: str) -> None:
    settings = load_settings(REQUIRED | ADDRESS | {"BILLING_WEBHOOK_SECRETS": given})

    secrets = webhook_secrets_of(settings.webhook_secrets)

    assert [secret.get_secret_value() for secret in secrets] == [ONE, OTHER]


def test_secrets_may_stand_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text(f"{ONE}\n{OTHER}\n")

    settings = load_settings(REQUIRED | ADDRESS | {"BILLING_WEBHOOK_SECRETS_FILE": str(file)})

    assert len(webhook_secrets_of(settings.webhook_secrets)) == 2


@pytest.mark.parametrize("given", [{}, {"BILLING_WEBHOOK_SECRETS": ""}, {"BILLING_WEBHOOK_SECRETS": " , "}])
def test_an_address_without_a_secret_is_refused(given: dict[str, str]) -> None:
    assert "forged" in fault_of(ADDRESS | given)


@pytest.mark.parametrize(
    "given",
    [
        "hunter2hunter2",
        f"{ONE},hunter2hunter2",
        "whsec_hunter2",
        "whsec_" + "hunter2" * 100,
        ",".join(a_secret(seed).get_secret_value() for seed in range(1, 6)),
    ],
)
def test_secrets_that_are_none_are_refused_and_not_shown(given: str) -> None:
    said = fault_of(ADDRESS | {"BILLING_WEBHOOK_SECRETS": given})

    assert "BILLING_WEBHOOK_SECRETS" in said
    assert "hunter2" not in said
    assert ONE not in said


def test_secrets_are_shown_nowhere() -> None:
    environ = REQUIRED | ADDRESS | {"BILLING_WEBHOOK_SECRETS": f"{ONE},{OTHER}"}
    settings = load_settings(environ)

    shown = repr(settings) + repr(describe(settings, environ)) + repr(webhook_secrets_of(settings.webhook_secrets))

    assert ONE not in shown
    assert OTHER not in shown


@pytest.mark.parametrize("path", ["webhooks", "/", "/a/", "/a b", "/a?b", "/{x}", "//a", "/홍"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    assert "BILLING_WEBHOOK_PATH" in fault_of({"BILLING_WEBHOOK_PATH": path})


def test_the_metrics_do_not_stand_where_webhooks_come_in() -> None:
    given = {"BILLING_WEBHOOK_SECRETS": ONE, "BILLING_WEBHOOK_ADDRESS": "0.0.0.0:9464"}

    assert "metrics" in fault_of(given | {"BILLING_HTTP_ADDRESS": "0.0.0.0:9464"})
    assert load_settings(REQUIRED | given).webhook_address == "0.0.0.0:9464"
