"""One simulator served over real HTTP for all contract tests, new before each; the official OpenAPI if it is here."""

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from billing_worker.simulator.app import SimulatorOptions
from billing_worker.simulator.server import in_background

API_SECRET = "practice-secret"
STORE_ID = "store-practice"
FRESH = "fresh"  # a key that was never used before

_serial = itertools.count(1)


class Practice:
    """A client of the simulator: the contract's calls, and the control address beside them."""

    api_secret = API_SECRET
    store_id = STORE_ID

    def __init__(self, url: str, api: httpx.AsyncClient, control: httpx.AsyncClient) -> None:
        self.url, self.api, self.control = url, api, control

    def new_id(self) -> str:
        """A paymentId that was never used before."""
        return f"test{next(_serial):08d}"

    def new_key(self) -> str:
        """An idempotency key that was never used before."""
        return f"idempotency-key-{next(_serial):08d}"

    def body(self, billing_key: str = "bk-ok-1", amount: int = 9900, **fields: Any) -> dict[str, Any]:
        """The least that a charge needs, and more if wanted."""
        return {
            "billingKey": billing_key,
            "orderName": "프로 요금제",
            "amount": {"total": amount},
            "currency": "KRW",
            **fields,
        }

    async def charge(
        self, payment_id: str, billing_key: str = "bk-ok-1", *, key: str | None = FRESH, **fields: Any
    ) -> httpx.Response:
        """POST /payments/{paymentId}/billing-key."""
        headers = self.key_header(key)
        return await self.api.post(
            f"/payments/{payment_id}/billing-key", json=self.body(billing_key, **fields), headers=headers
        )

    async def charge_until_answered(self, payment_id: str, billing_key: str = "bk-ok-1", *, key: str) -> httpx.Response:
        """Send the same charge again for as long as the first is outstanding."""
        async with asyncio.timeout(10):
            while True:
                answer = await self.charge(payment_id, billing_key, key=key)
                if answer.status_code != 409:
                    return answer

    async def look(self, payment_id: str) -> httpx.Response:
        """GET /payments/{paymentId}."""
        return await self.api.get(f"/payments/{payment_id}")

    async def tries(self, payment_id: str) -> list[dict[str, Any]]:
        """The items of GET /payments/{paymentId}/transactions."""
        return (await self.api.get(f"/payments/{payment_id}/transactions")).json()["items"]

    async def cancel(self, payment_id: str, *, key: str | None = FRESH, **fields: Any) -> httpx.Response:
        """POST /payments/{paymentId}/cancel."""
        body = {"reason": "고객 요청", **fields}
        return await self.api.post(f"/payments/{payment_id}/cancel", json=body, headers=self.key_header(key))

    async def tell(self, path: str, **body: Any) -> dict[str, Any]:
        """POST to the control address."""
        response = await self.control.post(path, json=body)
        assert response.status_code == 200, response.text
        return response.json()

    async def ask(self, path: str, **query: Any) -> dict[str, Any]:
        """GET at the control address."""
        response = await self.control.get(path, params=query)
        assert response.status_code == 200, response.text
        return response.json()

    async def reset(self, **options: Any) -> None:
        """A new world with some options changed."""
        await self.tell("/reset", options=options)

    async def wait_in_flight(self, *, at_least: int = 1, **query: Any) -> None:
        """Wait until so many requests stand at a stage."""
        found = await self.ask("/inflight", at_least=at_least, wait_seconds=10, **query)
        assert found["came_true"], found

    def key_header(self, key: str | None) -> dict[str, str]:
        """The Idempotency-Key header as the contract wants it, or none."""
        if key is None:
            return {}
        return {"Idempotency-Key": f'"{self.new_key() if key is FRESH else key}"'}


def pytest_configure(config: pytest.Config) -> None:
    """The mark that a test carries an assumption by; see assumptions.py."""
    config.addinivalue_line("markers", "assumption(*numbers): the test is the evidence for these assumptions")


@pytest.fixture(scope="session")
def simulator_url() -> Iterator[str]:
    with in_background(SimulatorOptions(API_SECRET, STORE_ID)) as url:
        yield url


@pytest.fixture
async def practice(simulator_url: str) -> AsyncIterator[Practice]:
    authorization = {"Authorization": f"PortOne {API_SECRET}"}
    async with (
        httpx.AsyncClient(base_url=simulator_url, headers=authorization, timeout=20) as api,
        httpx.AsyncClient(base_url=f"{simulator_url}/_control", timeout=20) as control,
    ):
        # A reset keeps the options of the test before, so every one that a test changes is put back.
        await control.post("/reset", json={"options": _usual_options()})
        yield Practice(simulator_url, api, control)


def _usual_options() -> dict[str, Any]:
    usual = SimulatorOptions(API_SECRET, STORE_ID)
    names = set(SimulatorOptions.__dataclass_fields__) - {"api_secret", "store_id"}
    return {name: getattr(usual, name) for name in names}


class OfficialContract:
    """PortOne's OpenAPI, as a judge of bodies. A oneOf with a discriminator is judged by the variant it names."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._judge = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"oneOf": _by_discriminator})
        self._formats = jsonschema.FormatChecker(formats=())
        self._formats.checks("date-time", raises=ValueError)(_is_date_time)

    def fields_of(self, schema_name: str) -> set[str]:
        """Every documented field of an object."""
        return set(self._document["components"]["schemas"][schema_name]["properties"])

    def check_request(self, method: str, path: str, body: object) -> None:
        """Fail unless the body is one the operation takes."""
        content = self._document["paths"][path][method]["requestBody"]["content"]
        self._check(content["application/json"]["schema"], body)

    def check_response(self, method: str, path: str, response: httpx.Response) -> None:
        """Fail unless the operation may answer with this status and body."""
        documented = self._document["paths"][path][method]["responses"]
        assert str(response.status_code) in documented, response.text
        content = documented[str(response.status_code)]["content"]
        self._check(content["application/json"]["schema"], response.json())

    def _check(self, schema: Mapping[str, Any], instance: object) -> None:
        root = {**schema, "components": self._document["components"]}
        self._judge(root, format_checker=self._formats).validate(instance)


def _by_discriminator(
    validator: Any, variants: list[Any], instance: Any, schema: Mapping[str, Any]
) -> Iterator[jsonschema.ValidationError]:
    discriminator = schema.get("discriminator")
    if discriminator is None:
        yield from jsonschema.Draft202012Validator.VALIDATORS["oneOf"](validator, variants, instance, schema)
        return
    word = instance.get(discriminator["propertyName"]) if isinstance(instance, dict) else None
    reference = discriminator["mapping"].get(word)
    if reference is None:
        yield jsonschema.ValidationError(f"{word!r} is none of {sorted(discriminator['mapping'])}")
        return
    yield from validator.descend(instance, {"$ref": reference})


def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None


@pytest.fixture(scope="session")
def official_contract() -> OfficialContract:
    beside = Path(__file__).parents[3] / "shared" / "reference" / "portone-v2.openapi.json"
    path = Path(os.environ.get("BILLING_TEST_OPENAPI", beside))
    if not path.is_file():
        pytest.skip("PortOne's OpenAPI is not here: set BILLING_TEST_OPENAPI to the file")
    return OfficialContract(json.loads(path.read_text()))
