"""Whose ServiceAccount token it is, as the API server says."""

from collections.abc import Mapping

import orjson
import pytest

from control_plane.kubernetes.api import Answer
from control_plane.kubernetes.token_review import TokenReview

GOOD = {
    "authenticated": True,
    "audiences": ["xds"],
    "user": {"username": "system:serviceaccount:shop:envoy"},
}


class _Api:
    """Answers every review alike and counts."""

    def __init__(self, status: Mapping[str, object], code: int = 201) -> None:
        self.asked = 0
        self._answer = Answer(code, orjson.dumps({"status": status}))

    async def request(self, *_args: object, **_more: object) -> Answer:
        self.asked += 1
        return self._answer


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (GOOD, 201, "shop/envoy"),
        (GOOD, 403, None),
        ({**GOOD, "authenticated": False}, 201, None),
        ({**GOOD, "audiences": ["other"]}, 201, None),
        ({**GOOD, "user": {"username": "alice"}}, 201, None),
        ({}, 201, None),
    ],
)
async def test_only_a_valid_token_for_us_has_an_account(
    status: Mapping[str, object], code: int, expected: str | None
) -> None:
    """Not one for somebody else, of a person, or that could not be asked about."""
    review = TokenReview(_Api(status, code), audience="xds", monotonic=lambda: 0.0)  # type: ignore[arg-type]

    assert expected == await review("token")


async def test_an_answer_counts_for_a_minute() -> None:
    """A reconnect storm asks once a token."""
    now, api = [0.0], _Api(GOOD)
    review = TokenReview(api, audience="xds", monotonic=lambda: now[0])  # type: ignore[arg-type]
    for moment in (0.0, 59.0, 61.0):
        now[0] = moment
        await review("token")

    assert 2 == api.asked
