"""Where a charge may be sent to."""

import pytest

from billing_worker.portone.address import is_loopback, require_safe_base_url

LOOPBACK = (
    "http://127.0.0.1:8080",
    "http://127.8.9.10",
    "https://127.0.0.1:8443/",
    "http://[::1]:9000",
    "http://localhost:8000",
    "http://LOCALHOST",
)
STRANGERS = (
    "",
    "api.portone.io",
    "http://api.portone.io",
    "https://api.portone.io:8443",
    "https://api.portone.io.evil.example",
    "https://api.portone.io/v2",
    "https://API.portone.io",
    "https://user@api.portone.io",
    "https://api.portone.io@evil.example",
    "https://api.iamport.kr",
    "http://127.0.0.1.evil.example",
    "http://127.0.0.1@evil.example",
    "http://127.0.0.1:80@evil.example",
    "http://evil.example#@127.0.0.1",
    "http://127.0.0.1\\@evil.example",
    "http://127.0.0.1/redirect",
    "http://127.0.0.1?x=1",
    "http://127.1",
    "http://2130706433",
    "http://0.0.0.0:8080",
    "http://10.0.0.1",
    "http://[::]",
    "http://[::ffff:10.0.0.1]",
    "http://localhost.evil.example",
    "http://localhost:99999",
    "ftp://127.0.0.1",
    "file:///etc/passwd",
    " http://127.0.0.1",
    "http://127.0.0.1\n",
    "http://１２７.0.0.1",
)


@pytest.mark.parametrize("url", ["https://api.portone.io", "https://api.portone.io/"])
def test_portones_own_address_is_taken_without_its_slash(url: str) -> None:
    assert require_safe_base_url(url) == "https://api.portone.io"
    assert not is_loopback(url)


@pytest.mark.parametrize("url", LOOPBACK)
def test_this_machine_is_taken(url: str) -> None:
    assert require_safe_base_url(url) == url.removesuffix("/")
    assert is_loopback(url)


@pytest.mark.parametrize("url", STRANGERS)
def test_a_stranger_is_refused_by_the_settings_name_and_with_a_remedy(url: str) -> None:
    with pytest.raises(
        ValueError, match=r"BILLING_PORTONE_BASE_URL must be https://api\.portone\.io.*Correct or remove"
    ):
        require_safe_base_url(url)
    assert not is_loopback(url)
