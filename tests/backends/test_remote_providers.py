"""Providers that are slow, broken, strict or hostile: real servers on loopback, seen with the language model."""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from email.utils import formatdate
from typing import Any

import pytest
from pydantic import ValidationError

from deployments import BACKENDS, remote_answers
from deployments.capabilities import Message, Tool, ToolCall
from deployments.errors import InvalidInput, ModelUnavailable

from .harness import connected
from .provider import HALF, HANG, KEY, KEY_VARIABLE, MALFORMED, Answer, LocalProvider, chat, status

HI = [Message(role="user", content="hi")]
CALLED = {"name": "weather", "arguments": '{"city": "Paris"}'}
NAMED = {"type": "function", "function": {"name": "weather"}}
ASKED = [
    *HI,
    Message(role="assistant", tool_calls=[ToolCall(id="a", **CALLED)]),
    Message(role="tool", tool_call_id="a", content="rain"),
]
CLOSED = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}


def events(deltas: list[dict[str, Any]], reason: str) -> Answer:
    """A stream of these."""
    listed = [{"choices": [{"delta": delta}]} for delta in deltas] + [{"choices": [{"finish_reason": reason}]}]
    return Answer("".join(f"data: {json.dumps(event)}\n\n" for event in listed).encode())


@pytest.fixture(scope="module")
def server() -> Iterator[LocalProvider]:
    started = LocalProvider(chat)
    yield started
    started.close()


@pytest.fixture
def provider(server: LocalProvider) -> LocalProvider:
    server.faults.clear()
    server.asked.clear()
    return server


async def writer(provider: LocalProvider, **options: Any) -> Any:
    return await connected("openai_compatible", provider, "/v1", **{"model": "letters", **options})


async def comments(count: int) -> AsyncIterator[bytes]:
    """A stream with nothing in it, cut at its end."""
    for _ in range(count):
        yield b": still alive\n\n"
        await asyncio.sleep(0.02)
    raise ConnectionAbortedError("as the fault says")


async def chatted(model: Any) -> str:
    return (await model.chat(HI, max_tokens=12, temperature=0)).text


async def streamed(model: Any) -> str:
    return "".join([delta.text async for delta in model.stream(HI, max_tokens=12, temperature=0)])


BOTH = pytest.mark.parametrize("ask", [chatted, streamed])


class TestFaults:
    """What every backend at a provider's does about them, seen with the language model."""

    @BOTH
    @pytest.mark.parametrize("fault", [status(500), status(503), status(429), status(408), status(502, "<html>")])
    async def test_a_passing_fault_is_met_with_another_attempt(
        self, provider: LocalProvider, ask: Any, fault: Answer
    ) -> None:
        expected = await ask(model := await writer(provider))
        provider.faults += [fault, fault]
        assert await ask(model) == expected
        assert len(provider.asked) == 4

    @BOTH
    async def test_a_provider_that_keeps_failing_is_given_up(self, provider: LocalProvider, ask: Any) -> None:
        provider.faults += [status(500, "out of order")] * 9
        with pytest.raises(ModelUnavailable, match=r"127\.0\.0\.1 answered 500: out of order"):
            await ask(await writer(provider))
        assert len(provider.asked) == 3

    @BOTH
    async def test_retry_after_is_heeded(self, provider: LocalProvider, ask: Any) -> None:
        provider.faults += [status(429, retry_after="1")]
        assert await ask(await writer(provider))
        first, second = provider.asked
        assert 1 <= second.at - first.at < 2

    async def test_retry_after_may_be_a_date(self, provider: LocalProvider) -> None:
        provider.faults += [status(429, retry_after=formatdate(usegmt=True))]
        assert await chatted(await writer(provider))
        provider.faults += [status(429, retry_after="Sun, 06 Nov 2994 08:49:37 GMT")]
        with pytest.raises(ModelUnavailable, match="its Retry-After is"):
            await chatted(await writer(provider))

    async def test_a_provider_that_wants_too_long_a_pause_is_given_up_at_once(self, provider: LocalProvider) -> None:
        provider.faults += [status(429, "quota", retry_after="3600")]
        with pytest.raises(ModelUnavailable, match=r"429: quota; its Retry-After is 3600 s"):
            await chatted(await writer(provider))
        assert len(provider.asked) == 1

    @BOTH
    async def test_a_provider_that_hangs_is_not_waited_for_twice(self, provider: LocalProvider, ask: Any) -> None:
        provider.faults += [HANG]
        with pytest.raises(ModelUnavailable, match=r"did not answer within 0\.2 s"):
            await ask(await writer(provider, timeout_s=0.2))
        assert len(provider.asked) == 1

    async def test_comments_do_not_hide_that_a_provider_hangs(self, provider: LocalProvider) -> None:
        provider.faults += [Answer(comments(1000))]
        with pytest.raises(ModelUnavailable, match=r"did not answer within 0\.3 s"):
            await streamed(await writer(provider, timeout_s=0.3))
        assert len(provider.asked) == 1

    async def test_a_stream_cut_after_comments_alone_has_not_begun(self, provider: LocalProvider) -> None:
        expected = await streamed(model := await writer(provider))
        provider.faults += [Answer(comments(3))]
        assert await streamed(model) == expected
        assert len(provider.asked) == 3

    async def test_replicas_do_not_come_back_as_one(
        self, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model, waits, here = await writer(provider), list[float](), threading.get_ident()
        sleep = asyncio.sleep

        async def noted(seconds: float) -> None:
            if seconds and threading.get_ident() == here:
                waits.append(seconds)
            await sleep(0)

        monkeypatch.setattr(asyncio, "sleep", noted)  # for the provider's thread too, where it is not noted
        for fault in (status(500), status(429, retry_after="1")):
            waits.clear()
            for _ in range(5):
                provider.faults += [fault]
                await chatted(model)
            assert len(set(waits)) == len(waits) == 5
        assert min(waits) >= 1

    @pytest.mark.parametrize("fault", [HALF, MALFORMED, Answer(b"[]"), Answer(b'{"choices": []}'), Answer(b"")])
    async def test_half_an_answer_is_no_answer(self, provider: LocalProvider, fault: Any) -> None:
        expected = await chatted(model := await writer(provider))
        provider.faults += [fault]
        assert await chatted(model) == expected
        provider.faults += [fault] * 3
        with pytest.raises(ModelUnavailable, match=r"broke off its answer|sent what its protocol does not have"):
            await chatted(model)

    async def test_a_stream_that_has_begun_is_never_begun_again(self, provider: LocalProvider) -> None:
        model = await writer(provider)
        whole = await streamed(model)
        provider.faults += [HALF]
        got = ""
        with pytest.raises(ModelUnavailable, match="broke off"):
            async for delta in model.stream(HI, max_tokens=12, temperature=0):
                got += delta.text
        assert got
        assert whole.startswith(got) and got != whole
        assert len(provider.asked) == 2

    @pytest.mark.parametrize(
        "events",
        [
            b"",
            b"data: [DONE]\n\n",
            b'data: {"choices": [{"delta": {"content": "so"}}]}\n\n',
            b'data: {"choices": [{"delta": {"content": "so"}}]}\n\ndata: {"choi',
            b'data: {"error": {"message": "overloaded"}}\n\n',
            b"data: " + b"x" * 2_000_000,
        ],
    )
    async def test_a_stream_without_an_end_is_no_reply(self, provider: LocalProvider, events: bytes) -> None:
        provider.faults += [Answer(events)]
        with pytest.raises(ModelUnavailable):
            await streamed(await writer(provider))

    @BOTH
    async def test_nobody_at_the_address_is_unavailable(self, provider: LocalProvider, ask: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        with pytest.raises(ModelUnavailable, match="cannot be reached"):
            await ask(await writer(provider, base_url=f"http://127.0.0.1:{port}/v1"))

    async def test_an_endless_answer_is_cut_off(self, provider: LocalProvider) -> None:
        provider.faults += [Answer(b" " * (remote_answers.MOST_TEXT + 1))]
        with pytest.raises(ModelUnavailable, match="more than the 8,388,608 bytes"):
            await chatted(await writer(provider))

    async def test_a_redirect_does_not_take_the_key_along(self, provider: LocalProvider) -> None:
        provider.faults += [status(307, location=f"{provider.url}/elsewhere")]
        with pytest.raises(ModelUnavailable, match="answered 307"):
            await chatted(await writer(provider))
        assert [asked.path for asked in provider.asked] == ["/v1/chat/completions"]


class TestKeys:
    """A key comes from the environment and is shown to nobody but the provider."""

    @BOTH
    async def test_a_refused_key_is_named_by_its_variable_and_never_shown(
        self, provider: LocalProvider, ask: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("OTHER_KEY", "sk-someone-elses")
        caplog.set_level(logging.DEBUG)
        with pytest.raises(ModelUnavailable, match="refused the key in OTHER_KEY") as refused:
            await ask(await writer(provider, key_variable="OTHER_KEY"))
        assert provider.asked[0].headers["authorization"] == "Bearer sk-someone-elses"
        assert "sk-someone-elses" not in f"{refused.value!r} {refused.value.__cause__!r} {caplog.text}"

    @pytest.mark.parametrize("code", [400, 403, 404, 500])
    async def test_an_error_that_quotes_the_key_is_told_without_it(self, provider: LocalProvider, code: int) -> None:
        provider.faults += [status(code, f"no such thing for {KEY}, sorry")] * 3
        with pytest.raises((ModelUnavailable, InvalidInput), match=r"no such thing for \*\*\*, sorry"):
            await chatted(await writer(provider))

    async def test_an_error_is_told_short(self, provider: LocalProvider) -> None:
        provider.faults += [status(404, "long\n" * 10_000)]
        with pytest.raises(ModelUnavailable) as failed:
            await chatted(await writer(provider))
        assert len(str(failed.value)) < 400

    async def test_a_server_without_keys_is_sent_none(self, provider: LocalProvider) -> None:
        with pytest.raises(ModelUnavailable, match="a request without a key; set key_variable"):
            await chatted(await writer(provider, key_variable=None))
        assert "authorization" not in provider.asked[0].headers

    @pytest.mark.parametrize("key", [KEY, "hf_abcdef", "AbCd"])
    def test_a_key_where_its_variables_name_belongs_is_refused_unseen(self, key: str) -> None:
        with pytest.raises(ValidationError, match="key_variable") as refused:
            BACKENDS["openai_compatible"].Options(model="m", key_variable=key)
        assert key not in str(refused.value)

    @pytest.mark.parametrize("value", ["", " \n", "sk-\nX-Injected: yes", "schlüssel"])
    async def test_a_variable_without_a_usable_key_is_named(
        self, provider: LocalProvider, monkeypatch: pytest.MonkeyPatch, value: str
    ) -> None:
        monkeypatch.setenv("ODD_KEY", value)
        with pytest.raises(ModelUnavailable, match="ODD_KEY has") as refused:
            await writer(provider, key_variable="ODD_KEY")
        assert "Injected" not in str(refused.value)

    @pytest.mark.parametrize(
        "url",
        [
            "http://example.com/v1",
            "http://127.0.0.1.example.com/v1",
            "ftp://127.0.0.1/v1",
            "https://",
            "example.com/v1",
            "https://user:password@example.com/v1",
            "https://example.com/v1?key=x",
            "https://exa mple:x/",
        ],
    )
    async def test_an_address_that_would_show_the_key_is_refused(self, provider: LocalProvider, url: str) -> None:
        with pytest.raises(ModelUnavailable, match="base_url"):
            await writer(provider, base_url=url)

    @pytest.mark.parametrize(
        "url", ["https://example.com/v1/", "http://localhost:1/v1", "http://[::1]:1", "HTTP://127.9.9.9"]
    )
    async def test_https_and_loopback_are_taken(self, provider: LocalProvider, url: str) -> None:
        (await writer(provider, base_url=url)).check_health()


class TestOpenAICompatible:
    """OpenAI's protocol: what is sent, and what its refusals mean."""

    async def test_what_nobody_decides_is_not_sent(self, provider: LocalProvider) -> None:
        await (await writer(provider)).chat(HI)
        assert provider.asked[0].json == {"model": "letters", "messages": [{"role": "user", "content": "hi"}]}

    async def test_the_callers_word_goes_before_the_profiles(self, provider: LocalProvider) -> None:
        model = await writer(provider, max_tokens=7, temperature=0.5, max_tokens_name="max_completion_tokens")
        await model.chat(HI, temperature=0, top_p=0.5, stop=["\n"], seed=2**63 - 1)
        sent = {name: value for name, value in provider.asked[0].json.items() if name not in ("model", "messages")}
        assert sent == {
            "max_completion_tokens": 7,
            "temperature": 0,
            "top_p": 0.5,
            "stop": ["\n"],
            "seed": 2**63 - 1,
        }

    @pytest.mark.parametrize("wanted", [True, False])
    async def test_token_counts_of_a_stream_are_asked_for_where_the_profile_wants(
        self, provider: LocalProvider, wanted: bool
    ) -> None:
        model = await writer(provider, usage_in_streams=wanted)
        await streamed(model)
        assert provider.asked[0].json["stream"] is True
        assert ("stream_options" in provider.asked[0].json) == wanted

    @BOTH
    @pytest.mark.parametrize(
        ("code", "error", "field"),
        [
            (400, {"message": "is not for this model", "param": "temperature"}, "temperature"),
            (400, {"message": "too many", "param": "max_completion_tokens"}, "max_tokens"),
            (422, {"message": "were flagged"}, "messages"),
            (413, {"message": "are too long"}, "messages"),
        ],
    )
    async def test_a_refusal_of_the_callers_values_names_the_field(
        self, provider: LocalProvider, ask: Any, code: int, error: dict[str, str], field: str
    ) -> None:
        provider.faults += [Answer.of({"error": error}, code)]
        with pytest.raises(InvalidInput, match=error["message"]) as refused:
            await ask(await writer(provider))
        assert refused.value.field == field
        assert len(provider.asked) == 1

    @BOTH
    @pytest.mark.parametrize(
        ("code", "error"),
        [
            (400, {"message": "unknown", "param": "model"}),
            (400, {"message": "Unsupported parameter", "param": "stream_options"}),
            (400, "nonesuch is not a valid model ID"),
            (404, {"message": "The model `nonesuch` does not exist"}),
            (402, {"message": "no credit left"}),
            (403, ["moderation"]),
            (418, None),
        ],
    )
    async def test_a_refusal_of_the_profiles_values_is_not_the_callers_fault(
        self, provider: LocalProvider, ask: Any, code: int, error: Any
    ) -> None:
        provider.faults += [Answer.of({"error": error}, code)]
        with pytest.raises(ModelUnavailable):
            await ask(await writer(provider))
        assert len(provider.asked) == 1

    async def test_tools_and_schemas_are_sent_in_openais_words(self, provider: LocalProvider) -> None:
        model, tool = await writer(provider), Tool(name="weather", description="Rain or sun")
        asked = {"messages": ASKED, "tools": [tool], "max_tokens": 90}
        for choice, sent in ((None, "auto"), ("required", "required"), ("weather", NAMED)):
            await model.chat(**asked, tool_choice=choice)
            assert provider.asked[-1].json["tool_choice"] == sent
        body = provider.asked[0].json
        assert body["tools"] == [{"type": "function", "function": tool.model_dump()}]
        assert body["messages"] == [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "", "tool_calls": [{"id": "a", "type": "function", "function": CALLED}]},
            {"role": "tool", "content": "rain", "tool_call_id": "a"},
        ]
        for strict in (True, False):
            await (await writer(provider, strict_schemas=strict)).chat(HI, json_schema=CLOSED, max_tokens=90)
            form = {"name": "reply", "schema": CLOSED, "strict": strict}
            assert provider.asked[-1].json["response_format"] == {"type": "json_schema", "json_schema": form}
        assert "tools" not in provider.asked[-1].json and "tool_choice" not in provider.asked[-1].json

    async def test_calls_are_put_together_from_their_pieces(self, provider: LocalProvider) -> None:
        pieces = [
            {"content": "I look."},
            {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "weather", "arguments": ""}}]},
            {"tool_calls": [{"index": 1, "id": "b", "function": {"name": "now"}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": '{"city": '}}]},
            {"tool_calls": [{"index": 0, "function": {"arguments": '"Paris"}'}}]},
        ]
        provider.faults += [events(pieces, "tool_calls")]
        *before, last = [delta async for delta in (await writer(provider)).stream(HI)]
        assert [delta.text for delta in before] == ["I look."]
        made = [(call.id, call.name, call.arguments) for call in last.tool_calls]
        assert made == [("a", "weather", '{"city": "Paris"}'), ("b", "now", "{}")]
        assert last.finish_reason == "tool_calls"
        provider.faults += [events(pieces[:-1], "length")]
        *_, last = [delta async for delta in (await writer(provider)).stream(HI)]
        assert ([call.id for call in last.tool_calls], last.finish_reason) == (["b"], "length")

    async def test_a_call_without_an_id_gets_one(self, provider: LocalProvider) -> None:
        message = {"content": None, "tool_calls": [{"function": CALLED}, {"function": CALLED}]}
        provider.faults += [Answer.of({"choices": [{"message": message, "finish_reason": "stop"}]})]
        reply = await (await writer(provider)).chat(HI)
        assert reply.finish_reason == "tool_calls"
        assert len({call.id for call in reply.tool_calls}) == 2

    @pytest.mark.parametrize(
        "asked", [{"json_schema": CLOSED}, {"tools": [Tool(name="weather")], "tool_choice": "required"}]
    )
    async def test_a_provider_that_leaves_out_what_was_asked_for_is_no_answer(
        self, provider: LocalProvider, asked: dict[str, Any]
    ) -> None:
        provider.faults += [Answer.of({"choices": [{"message": {"content": "well"}, "finish_reason": "stop"}]})]
        with pytest.raises(ModelUnavailable, match="though"):
            await (await writer(provider)).chat(HI, **asked)
        provider.faults += [events([{"content": "well"}], "stop")]
        with pytest.raises(ModelUnavailable, match="though"):
            [delta async for delta in (await writer(provider)).stream(HI, **asked)]

    async def test_a_schema_that_the_provider_refuses_is_named(self, provider: LocalProvider) -> None:
        with pytest.raises(InvalidInput) as refused:
            await (await writer(provider)).chat(HI, json_schema={"type": "object"})  # not closed, as OpenAI wants it
        assert refused.value.field == "json_schema"

    async def test_a_reply_without_content_or_usage_is_an_empty_one(self, provider: LocalProvider) -> None:
        provider.faults += [Answer.of({"choices": [{"message": {"content": None}, "finish_reason": "tool_calls"}]})]
        reply = await (await writer(provider)).chat(HI)
        assert (reply.text, reply.finish_reason, reply.completion_tokens) == ("", "stop", 0)

    async def test_what_a_filter_stopped_is_refused(self, provider: LocalProvider) -> None:
        provider.faults += [Answer.of({"choices": [{"message": {}, "finish_reason": "content_filter"}]})]
        with pytest.raises(InvalidInput, match="content filter"):
            await chatted(await writer(provider))

    async def test_a_changed_connection_is_closed_after_its_last_call(self, provider: LocalProvider) -> None:
        model = await writer(provider)
        stream = model.stream(HI, max_tokens=2000)
        await anext(stream)
        old = model._connection._client
        await model.reconfigure(BACKENDS["openai_compatible"].Options(model="other", key_variable=KEY_VARIABLE))
        assert (await anext(stream)).text
        assert not old.is_closed
        await stream.aclose()
        assert old.is_closed
