"""Which addresses a charge may be sent to: PortOne's own, or this machine.

Any other address would be handed the API secret and every billing key.
"""

import ipaddress
import re

PORTONE_ADDRESS = "https://api.portone.io"

# Stricter than any URL parser on purpose: two parsers that disagree about a user name, a backslash or a fragment would
# let one of them check a host that the other one does not connect to.
_ADDRESS = re.compile(r"(?P<scheme>https?)://(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::(?P<port>[0-9]{1,5}))?/?")


def is_loopback(url: str) -> bool:
    """Whether the URL is plain scheme, host and port, and its host is this machine."""
    parts = _ADDRESS.fullmatch(url)
    if parts is None or int(parts["port"] or 0) > 65535:
        return False
    host = parts["host"].strip("[]").lower()
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback


def require_safe_base_url(url: str) -> str:
    """The base URL without its trailing slash. Raises ValueError unless it is PortOne's address or this machine's."""
    base = url.removesuffix("/")
    if base == PORTONE_ADDRESS or is_loopback(url):
        return base
    raise ValueError(
        f"BILLING_PORTONE_BASE_URL must be {PORTONE_ADDRESS}, or, for the simulator, http:// or https:// on "
        "127.0.0.0/8, [::1] or localhost with nothing but a port behind it. Correct or remove the setting."
    )
