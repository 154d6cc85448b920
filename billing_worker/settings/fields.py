"""Every setting: its unit, its default, the reason for it, and which values it takes by itself.

Where the values come from and which of them contradict each other is decided beside this module. What is raised here
must never contain the value that was given: it may be a secret, or one pasted into the wrong place.
"""

import itertools
import re
from typing import Annotated, Any, Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from billing_worker.portone.address import is_loopback, require_safe_base_url
from billing_worker.portone.webhook import SECRETS_MAX, require_secret

PREFIX = "BILLING_"

# How long PortOne may take over accepting a request's bytes; a few hundred of them, so no setting.
PORTONE_WRITE_SECONDS = 10

# PortOne answers a POST after up to a minute when the PG is slow; whoever hangs up earlier never learns the verdict.
PORTONE_READ_SECONDS_MIN = 60

# PortOne forgets an idempotency key after three hours, and the same bytes sent later could charge again.
KEY_MEMORY_SECONDS = 3 * 3600
RESEND_UNTIL_SECONDS_MAX = 10_000

# A payment may turn up late at PortOne; for a whole day nothing is believed to be lost.
VOID_AFTER_SECONDS_MIN = 86_400


def _without_blanks(text: str) -> str:
    if not text or not text.isprintable() or " " in text:
        raise ValueError("must be printable text without blanks")
    return text


def require_database_url(secret: SecretStr) -> SecretStr:
    """The URL unchanged, or a ValueError that does not contain it."""
    url = _without_blanks(secret.get_secret_value())
    if not url.startswith(("postgresql://", "postgres://")):
        raise ValueError("must begin with postgresql://")
    try:
        parts = urlsplit(url)
    except ValueError:
        # The library's own message may quote the password.
        raise ValueError("is no URL that can be read") from None
    aim = parse_qs(parts.query).get("target_session_attrs", [""])[0]
    if "," in parts.netloc.rpartition("@")[2] and aim not in {"read-write", "primary"}:
        raise ValueError("names several hosts, so it needs ?target_session_attrs=read-write to find the primary")
    return secret


def _api_secret(secret: SecretStr) -> SecretStr:
    _without_blanks(secret.get_secret_value())
    return secret


def _store_id(text: str) -> str:
    if _without_blanks(text).startswith("channel-key-"):
        raise ValueError("is a channel key; the store id begins with store-")
    return text


def _channel_key(text: str) -> str:
    if _without_blanks(text).startswith("store-"):
        raise ValueError("is a store id; the channel key begins with channel-key-")
    return text


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal() and int(port) <= 65_535):
        raise ValueError("must be HOST:PORT; an IPv6 host stands in brackets")
    return text


def _path(text: str) -> str:
    if not re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", text):
        raise ValueError("must be a path such as /webhooks/portone: letters, digits and . _ ~ - between slashes")
    return text


def webhook_secrets_of(secret: SecretStr) -> tuple[SecretStr, ...]:
    """The secrets one by one; they are given together, so that both stand in one file while they are exchanged."""
    return tuple(SecretStr(one) for one in secret.get_secret_value().replace(",", " ").split())


def _webhook_secrets(secret: SecretStr) -> SecretStr:
    secrets = webhook_secrets_of(secret)
    if len(secrets) > SECRETS_MAX:
        raise ValueError(f"must be at most {SECRETS_MAX} secrets, separated by commas")
    for number, one in enumerate(secrets, start=1):
        try:
            require_secret(one.get_secret_value())
        except ValueError as fault:
            raise ValueError(f"secret {number} {fault}") from None
    return secret


def _split(value: object) -> object:
    # An empty text is no empty list: a variable that a deployment tool left blank must not end all retries.
    if not isinstance(value, str):
        return value
    return [] if value == "none" else [part.strip() for part in value.split(",")]


def _rising(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if any(later <= earlier for earlier, later in itertools.pairwise(values)):
        raise ValueError("must rise from one number to the next")
    return values


Seconds = Annotated[float, Field(gt=0, le=30 * 86_400, allow_inf_nan=False)]
# Within this time of a send an attempt may be its sender's: look_soon and its like leave it alone.
ATTEMPT_LEASE_SECONDS_MAX = 900
Moments = Annotated[
    tuple[Annotated[int, Field(ge=1, le=30 * 86_400)], ...],
    BeforeValidator(_split),
    AfterValidator(_rising),
    Field(max_length=20),
]
Days = Annotated[
    tuple[Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)], ...],
    BeforeValidator(_split),
    AfterValidator(_rising),
    Field(max_length=20),
]


class Settings(BaseSettings):
    """The settings of one worker. The environment variable of each is BILLING_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True)

    database_url: Annotated[SecretStr, AfterValidator(require_database_url)] = Field(
        description="Where Postgres is and as whom to log in: postgresql://USER:PASSWORD@HOST:5432/NAME. With "
        "several hosts, "
        "separated by commas, add ?target_session_attrs=read-write so that a failover is followed to the new primary."
    )
    database_pool_claims_max: Annotated[int, Field(ge=1, le=100)] = Field(
        4,
        description="Connections for claims and intents. Statements are batched, so a few carry thousands of charges "
        "a second.",
    )
    database_pool_outcomes_max: Annotated[int, Field(ge=1, le=100)] = Field(
        4, description="Connections for outcomes alone: a verdict can be written however busy the claims are."
    )
    database_command_timeout_seconds: Annotated[float, Field(ge=1, le=300)] = Field(
        20,
        description="How long one statement may take. A commit that waits for a lost synchronous standby hangs for "
        "ever.",
    )

    deployment: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = Field(
        "main",
        description="Whose database this is. A worker refuses one that is another deployment's: give staging a name of "
        "its own, so that a copy of production's database is not billed from.",
    )

    portone_base_url: Annotated[str, AfterValidator(require_safe_base_url)] = Field(
        "https://api.portone.io",
        description="PortOne's API. Only this address and loopback ones (the simulator) are accepted.",
    )
    portone_api_secret: Annotated[SecretStr, AfterValidator(_api_secret)] = Field(
        description="The V2 API secret of the PortOne console. Whoever has it can move money."
    )
    portone_store_id: Annotated[str, AfterValidator(_store_id), Field(max_length=200)] = Field(
        description="The store whose payments these are (store-…). It is part of every payment id: never change it "
        "in use."
    )
    portone_channel_key: Annotated[str, AfterValidator(_channel_key), Field(max_length=200)] | None = Field(
        None,
        description="The channel to charge through (channel-key-…). Without it the one that issued the billing key "
        "is used.",
    )
    portone_pg: Literal["KPN", "OTHER"] = Field(
        "KPN",
        description="The PG behind the channel; its limits on order names and customer fields are checked on import.",
    )
    portone_live: bool = Field(
        True,
        description="Whether payments must be of a live channel. One of the other kind is put on the exceptions list "
        "as soon as PortOne's record of it is read; after an answer that says paid, that is "
        "BILLING_VERIFY_AFTER_SECONDS later, so let entitlement wait for the verified look.",
    )
    portone_connect_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        5, description="How long to wait for a connection to PortOne."
    )
    portone_read_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        65,
        description="How long to wait for the verdict of a charge. At least 60: hanging up does not stop PortOne or "
        "the PG.",
    )
    portone_look_read_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        20, description="How long to wait for the answer to a look (GET); a look is cheap to repeat."
    )
    portone_requests_per_second: Annotated[float, Field(gt=0, le=10_000)] = Field(
        10, description="Requests to PortOne, of one worker; looks are half at most. Ask PortOne before raising it."
    )
    portone_burst: Annotated[int, Field(ge=1, le=10_000)] = Field(
        20, description="Requests that may leave at once after a pause."
    )
    portone_in_flight_max: Annotated[int, Field(ge=1, le=1000)] = Field(
        100,
        description="Charges that one worker waits for at the same time. Times the rate of one slot it bounds the "
        "speed.",
    )

    claim_batch_max: Annotated[int, Field(ge=1, le=5000)] = Field(
        200, description="Due cycles claimed at once. All of them must be sendable within the send window."
    )
    claim_lease_seconds: Seconds = Field(
        60, description="How long a claimed cycle is hidden from other workers until its intent is written."
    )
    send_window_seconds: Annotated[float, Field(gt=0, le=600)] = Field(
        30,
        description="After an intent no send may begin later than this: somebody else may by then be asking about it.",
    )
    attempt_lease_seconds: Annotated[float, Field(gt=0, le=ATTEMPT_LEASE_SECONDS_MAX)] = Field(
        240,
        description="How long an open attempt belongs to the worker that opened it: the send window, the longest "
        "charge, the two looks after it and the writes (200 s by default), or two workers would work on it at once.",
    )
    fruitless_claims_max: Annotated[int, Field(ge=2, le=1000)] = Field(
        10,
        description="Claims of one cycle that came to nothing before it is set aside for a person, so it blocks no "
        "others.",
    )
    renew_batch_max: Annotated[int, Field(ge=1, le=5000)] = Field(
        500, description="Subscriptions whose next cycle is opened in one transaction."
    )
    reconcile_batch_max: Annotated[int, Field(ge=1, le=5000)] = Field(
        100, description="Attempts without a verdict that are asked about in one sweep."
    )
    schedule_lead_seconds: Annotated[float, Field(ge=3600, le=30 * 86_400, allow_inf_nan=False)] = Field(
        259_200,
        description="How long before it is due a cycle of schedule mode is opened and booked at PortOne, which then "
        "charges by itself.",
    )
    schedule_near_seconds: Seconds = Field(
        600,
        description="A cycle nearer than this to its time is not booked but charged when it is due: a booking must "
        "have arrived by then.",
    )
    schedule_grace_seconds: Seconds = Field(
        60, description="After the time of a booking, how long until PortOne is asked what came of it."
    )
    schedule_lost_after_seconds: Seconds = Field(
        3600,
        description="After its time, when a booking of which PortOne knows neither schedule nor payment is given up "
        "for lost and its cycle charged directly.",
    )
    sweep_seconds: Annotated[float, Field(gt=0, le=60)] = Field(
        1.0, description="How often the bell rings for each sweep; the rows decide whether there is work."
    )

    ask_first_seconds: Seconds = Field(
        5,
        description="When an attempt that its worker left open is first asked about: the broken call may still be "
        "arriving.",
    )
    ask_widest_seconds: Seconds = Field(
        3600,
        description="The widest interval between two looks at an open attempt; the intervals double until they reach "
        "it.",
    )
    resend_until_seconds: Annotated[float, Field(gt=0, le=RESEND_UNTIL_SECONDS_MAX)] = Field(
        9000,
        description="After the first send, how long the same bytes may be sent again under the same key. PortOne "
        "forgets "
        "a key after 3 h (10800), and what is sent later could charge twice.",
    )
    void_after_seconds: Seconds = Field(
        86_400, description="How long PortOne must keep knowing nothing of an attempt before it counts as never made."
    )
    verify_after_seconds: Seconds = Field(
        600,
        description="When a payment that PortOne's answer called paid is looked at, to compare amount, store and kind.",
    )
    recheck_after_seconds: Moments = Field(
        (600, 10_800, 86_400), description="When a decline is looked at again: some turn out paid later. none: never."
    )
    feed_source: Literal["payments", "events", "off"] = Field(
        "payments",
        description="By which of PortOne's lists changes are followed without webhooks: its payments by when they last "
        "changed, or its events, which PortOne calls experimental. off: only attempts whose look is due are asked "
        "about.",
    )
    feed_seconds: Annotated[float, Field(ge=1, le=86_400, allow_inf_nan=False)] = Field(
        60, description="How often PortOne is asked what has changed: one request of all workers together."
    )
    feed_overlap_seconds: Annotated[float, Field(ge=60, le=86_400, allow_inf_nan=False)] = Field(
        600, description="How much of the time before is read again: a change may appear late in PortOne's list."
    )
    compare_at: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")] = Field(
        "04:30", description="When PortOne's payments are compared with ours each night, in Seoul."
    )
    compare_days: Annotated[int, Field(ge=1, le=366)] = Field(
        35, description="How many days back PortOne's payments are compared. A difference that is older is not seen."
    )
    compare_schedules_seconds: Annotated[float, Field(ge=60, le=7 * 86_400, allow_inf_nan=False)] = Field(
        3600, description="How often PortOne's schedules are compared with our bookings."
    )
    dunning_retry_days: Days = Field(
        (1, 3, 5, 7),
        description="Days after the first decline on which a soft decline is tried again; decimals allowed. "
        "After the last the cycle is given up. none: at the first decline.",
    )
    channel_pause_seconds: Seconds = Field(
        60,
        description="How long nothing is sent after PortOne refused the credentials or the channel: all would fail "
        "alike.",
    )
    refused_retry_seconds: Seconds = Field(
        600, description="When a cycle is due again whose charge was refused because of the credentials or the channel."
    )
    clock_skew_max_seconds: Annotated[float, Field(gt=0, le=300)] = Field(
        30, description="Nothing is sent while the host's clock differs from the primary's by more than this."
    )

    http_address: Annotated[str, AfterValidator(_address)] = Field(
        "127.0.0.1:9464",
        description="Where /livez, /readyz and /metrics are served. They have no log-in: keep them inside.",
    )
    webhook_address: Annotated[str, AfterValidator(_address)] | None = Field(
        None,
        description="Where PortOne's webhooks are taken in: HOST:PORT behind a proxy that ends TLS. Without it there "
        "is no such address, and every outcome is learnt by asking.",
    )
    webhook_path: Annotated[str, AfterValidator(_path), Field(max_length=200)] = Field(
        "/webhooks/portone", description="The path of the URL that PortOne's console is given; every other one is 404."
    )
    webhook_secrets: Annotated[SecretStr, AfterValidator(_webhook_secrets)] = Field(
        SecretStr(""),
        description="The webhook secrets of the PortOne console (whsec_…), separated by commas: up to four, so that "
        "one can be exchanged while another still signs. Whoever has one can make us ask PortOne, and nothing else.",
    )
    webhook_body_bytes_max: Annotated[int, Field(ge=1024, le=1_048_576)] = Field(
        65_536, description="The largest webhook that is read. PortOne's are a few hundred bytes."
    )
    shutdown_grace_seconds: Annotated[float, Field(gt=0, le=3600)] = Field(
        240,
        description="After SIGTERM, how long what is in flight may take: a charge may be sent again within its send "
        "window, is answered, looked at twice and written (200 s by default). Kill no worker sooner.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="The least important event that is logged. At INFO an attempt is one line."
    )
    log_format: Literal["json", "console"] = Field("json", description="json for machines, console for people.")
    unresolved_warn_seconds: Seconds = Field(
        900, description="An attempt open for longer than this is logged as a warning."
    )
    unresolved_page_seconds: Seconds = Field(
        7200, description="An attempt open for longer than this is logged as an error: a person is woken."
    )
    worker_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,64}$")] | None = Field(
        None, description="What this worker calls itself in rows and logs. Without it, host name and process number."
    )

    @property
    def portone_is_loopback(self) -> bool:
        """Whether PortOne is a simulator on this machine, which may be hurried."""
        return is_loopback(self.portone_base_url)

    @property
    def portone_write_seconds(self) -> float:
        """How long the writing of a request may take; a simulator that is hurried in reading is hurried in this too."""
        hurried = self.portone_is_loopback
        return min(PORTONE_WRITE_SECONDS, self.portone_read_seconds) if hurried else PORTONE_WRITE_SECONDS

    @property
    def longest_charge_seconds(self) -> float:
        """The longest that one POST can take."""
        return self.portone_connect_seconds + self.portone_write_seconds + self.portone_read_seconds

    @property
    def longest_look_seconds(self) -> float:
        """The longest that one GET can take; it has no body to write."""
        return self.portone_connect_seconds + self.portone_look_read_seconds

    @property
    def longest_write_seconds(self) -> float:
        """The longest that an outcome waits to be stored: a batch may just have left, and it goes with the next one."""
        return 2 * self.database_command_timeout_seconds

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what load_settings gathered: it knows where each value is from, and reports two values for one name."""
        return (init_settings,)
