"""OpenAI's moderations, over a model that flags what hurts."""

from typing import Any

import pytest

from .services import Served


async def post(served: Served, body: dict[str, Any]) -> Any:
    async with served.client() as client:
        return await client.post("/v1/moderations", json=body)


@pytest.mark.parametrize(
    ("given", "flagged"),
    [
        ("I will hurt you.", [True]),
        (["Hello.", "I will hurt you."], [False, True]),
        ([{"type": "text", "text": "Hello."}, {"type": "text", "text": "I will hurt you."}], [True]),
    ],
)
async def test_texts_are_judged_one_by_one_and_the_parts_of_a_message_together(
    served: Served, given: Any, flagged: list[bool]
) -> None:
    answer = await post(served, {"input": given, "model": None})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["id"].startswith("modr-") and body["model"] == "judge"
    assert [one["flagged"] for one in body["results"]] == flagged
    assert body["results"][-1] == {
        "flagged": True,
        "categories": {"threat": True},
        "category_scores": {"threat": 1.0},
        "category_applied_input_types": {"threat": ["text"]},
    }


@pytest.mark.parametrize(
    ("body", "field", "reason"),
    [
        ({"input": []}, "input", "at least 1"),
        ({"input": "x", "charm": 1}, "charm", "is not a field here"),
        ({}, "input", "required"),
        ({"input": ["x", 3]}, "input.1", "string"),
        ({"input": [{"type": "image_url", "image_url": {"url": "data:,"}}]}, "input.0", "is a picture"),
        ({"input": [{"type": "film"}]}, "input.0", ""),
        ({"input": [{"type": "text"}]}, "input.0.text", "required"),
    ],
)
async def test_bad_bodies_are_refused_by_their_field(
    served: Served, body: dict[str, Any], field: str, reason: str
) -> None:
    answer = await post(served, body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["param"] == field and reason in error["message"]
