"""A secret that stands in a second setting is refused before anything shows that setting."""

import pytest

from billing_worker.settings import SettingsFault, load_settings

PASSWORD = "hunter2hunter2"
API_SECRET = "s3cret-of-the-console"
REQUIRED = {
    "BILLING_DATABASE_URL": f"postgresql://worker:{PASSWORD}@db.example.com:5432/billing",
    "BILLING_PORTONE_API_SECRET": API_SECRET,
    "BILLING_PORTONE_STORE_ID": "store-0001",
}
SHOWN_SETTINGS = (
    "BILLING_DEPLOYMENT",
    "BILLING_PORTONE_CHANNEL_KEY",
    "BILLING_PORTONE_STORE_ID",
    "BILLING_WORKER_NAME",
)


def problems_of(environ: dict[str, str]) -> dict[str, str]:
    """What is said of each variable."""
    with pytest.raises(SettingsFault) as caught:
        load_settings(environ)
    return {problem.name: str(problem) for problem in caught.value.problems}


@pytest.mark.parametrize("shown", SHOWN_SETTINGS)
@pytest.mark.parametrize(
    ("secret", "held_by"),
    [
        (API_SECRET, "BILLING_PORTONE_API_SECRET"),
        (f"w-{API_SECRET}-1", "BILLING_PORTONE_API_SECRET"),
        (PASSWORD, "BILLING_DATABASE_URL"),
        (f"w-{PASSWORD}-1", "BILLING_DATABASE_URL"),
    ],
)
def test_a_secret_that_stands_in_a_setting_that_is_shown_is_refused_and_both_are_named(
    shown: str, secret: str, held_by: str
) -> None:
    problems = problems_of({**REQUIRED, shown: secret})

    assert list(problems) == [shown]
    assert held_by in problems[shown]
    assert API_SECRET not in problems[shown]
    assert PASSWORD not in problems[shown]


def test_an_api_secret_that_is_the_database_s_password_too_is_refused() -> None:
    problems = problems_of({**REQUIRED, "BILLING_PORTONE_API_SECRET": PASSWORD})

    assert list(problems) == ["BILLING_DATABASE_URL", "BILLING_PORTONE_API_SECRET"]
    assert PASSWORD not in str(problems)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://worker:tr%C3%A8s-secret%2Bword@db:5432/billing",
        "postgresql://worker@db:5432/billing?password=tr%C3%A8s-secret%2Bword",
    ],
)
@pytest.mark.parametrize("pasted", ["très-secret+word", "store-très-secret+word"])
def test_a_password_is_known_however_the_url_writes_it(url: str, pasted: str) -> None:
    problems = problems_of({**REQUIRED, "BILLING_DATABASE_URL": url, "BILLING_PORTONE_STORE_ID": pasted})

    assert list(problems) == ["BILLING_PORTONE_STORE_ID"]


def test_a_password_is_known_as_the_url_writes_it_too() -> None:
    url = "postgresql://worker:secret%2Bword@db:5432/billing"

    problems = problems_of({**REQUIRED, "BILLING_DATABASE_URL": url, "BILLING_PORTONE_STORE_ID": "secret%2Bword"})

    assert list(problems) == ["BILLING_PORTONE_STORE_ID"]


def test_a_webhook_secret_is_known_too() -> None:
    webhooks = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=,whsec_YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODk="

    problems = problems_of(
        {**REQUIRED, "BILLING_WEBHOOK_SECRETS": webhooks, "BILLING_PORTONE_STORE_ID": webhooks.split(",")[1]}
    )

    assert list(problems) == ["BILLING_PORTONE_STORE_ID"]
    assert "BILLING_WEBHOOK_SECRETS" in problems["BILLING_PORTONE_STORE_ID"]
    assert "whsec" not in problems["BILLING_PORTONE_STORE_ID"]


def test_what_is_too_short_to_be_known_by_may_stand_anywhere() -> None:
    url = "postgresql://worker:billing@db:5432/billing"

    settings = load_settings({**REQUIRED, "BILLING_DATABASE_URL": url, "BILLING_WORKER_NAME": "billing-1"})

    assert settings.worker_name == "billing-1"


def test_a_default_is_not_blamed_for_a_password_that_it_contains() -> None:
    url = "postgresql://worker:api.portone@db:5432/billing"

    settings = load_settings({**REQUIRED, "BILLING_DATABASE_URL": url})

    assert settings.portone_base_url == "https://api.portone.io"


def test_a_short_secret_in_a_setting_that_takes_no_such_value_is_not_shown_either() -> None:
    problems = problems_of({**REQUIRED, "BILLING_LOG_LEVEL": PASSWORD})

    assert list(problems) == ["BILLING_LOG_LEVEL"]
    assert PASSWORD not in problems["BILLING_LOG_LEVEL"]
