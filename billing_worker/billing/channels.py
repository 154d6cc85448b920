"""Channels: what each PG takes, and would otherwise cut, refuse or garble. Facts about PGs, never about a merchant."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChannelProfile:
    """The limits of one PG that a subscription must keep to before its first charge."""

    pg: str
    order_name_bytes_max: int
    customer_name_required: bool
    currencies: frozenset[str]
    forbidden_in_order_name: frozenset[str]


# 한국결제네트웍스. PortOne's quick guide: orderName of at most 256 bytes.
KPN = ChannelProfile(
    pg="KPN",
    order_name_bytes_max=256,
    customer_name_required=True,
    currencies=frozenset({"KRW"}),
    forbidden_in_order_name=frozenset(),
)

# What every other PG takes: 40 bytes of order name (NICE, KG이니시스, 스마트로) and no character that NICE refuses.
OTHER = ChannelProfile(
    pg="OTHER",
    order_name_bytes_max=40,
    customer_name_required=False,
    currencies=frozenset({"KRW", "USD", "JPY"}),
    forbidden_in_order_name=frozenset("%&|$-+=[]"),
)

PROFILES: Mapping[str, ChannelProfile] = {profile.pg: profile for profile in (KPN, OTHER)}


def order_name_faults(profile: ChannelProfile, name: str) -> tuple[str, ...]:
    """Everything that the PG would not take about an order name; empty when it is good."""
    faults = []
    if not name.strip():
        faults.append("must not be empty")
    if not name.isprintable():
        faults.append("has a control or invisible character")
    # PGs count in UTF-8 or in EUC-KR, and UTF-8 is the larger. A lone surrogate is in neither; it must not raise here.
    size = len(name.encode("utf-8", errors="surrogatepass"))
    if size > profile.order_name_bytes_max:
        faults.append(f"has {size} bytes in UTF-8, and {profile.pg} takes {profile.order_name_bytes_max}")
    forbidden = sorted(profile.forbidden_in_order_name.intersection(name))
    if forbidden:
        faults.append(f"has {' '.join(forbidden)}, which {profile.pg} does not take")
    return tuple(faults)
