"""Whatever is posted to the webhook address: nothing raises, and nothing is kept that no secret of ours has signed."""

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.builders import NOON
from tests.fuzz import posts
from tests.fuzz.posts import Post
from tests.webhooks import a_body, signed

FEW = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))


@FEW
@given(posts.posts())
@example(Post(b"\xff", [], sign=True))
@example(Post(b"[" * 60_000, [], sign=True))
@example(Post(b'{"type":"Transaction.Paid","data":{"paymentId":"\\ud800"}}', [], sign=True))
@example(Post(b"", [(b"content-length", b"9" * 5000)], sign=True))
async def test_no_post_raises_and_nothing_unsigned_is_kept(post: Post) -> None:
    await posts.post_is_taken_safely(post)


@FEW
@given(st.binary(max_size=500), st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=200)), max_size=8))
async def test_no_bytes_are_taken_for_portones(body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    await posts.post_is_taken_safely(Post(body, headers, sign=False))


@FEW
@given(st.binary(max_size=300))
def test_no_signed_bytes_are_more_than_read(raw: bytes) -> None:
    posts.bytes_are_read_safely(raw)


async def test_a_sound_post_is_kept() -> None:
    """Or the claims above would hold of an endpoint that keeps nothing."""
    headers = [(name.encode(), given.encode()) for name, given in signed(a_body(), NOON).items()]

    status, hints = await posts.posted(a_body(), headers)

    assert (status, len(hints)) == (200, 1)


@FEW
@given(st.integers(0, 31), st.integers(1, 255))
async def test_no_signature_that_is_off_by_a_bit_is_right(place: int, change: int) -> None:
    await posts.spoilt_signature_is_refused(place, change)
