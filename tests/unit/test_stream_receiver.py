"""Items of streams arrive over a connection from the replica: in order, together where they are together, or not."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, ClassVar

import pytest

from deployments import backend
from deployments.capabilities import Delta, Language, Message, Reply
from deployments.errors import InvalidInput, ModelUnavailable
from serve_app.errors import ModelFailed, RunTimedOut
from serve_app.models import stream_receiver as receiver_module
from serve_app.models.local_handle import LocalHandle
from serve_app.models.registry import Model, Models
from serve_app.models.stream_receiver import Address, ReceivedStream, StreamReceiver
from serve_app.replicas import stream_sender as sender_module
from serve_app.replicas.replica import replica
from serve_app.replicas.stream_sender import StreamSender

from .multiplexing import Watched, asking, made
from .runs import Calls

pytestmark = pytest.mark.timeout(30)


class Speller(Language):
    """Says the letters of the message: `!` is an error, `.` a pause without end."""

    class Options(backend.Options):
        pass

    needs: ClassVar[backend.Needs] = backend.Needs(cpus=0.1)

    def __init__(self) -> None:
        self.ended = list[str]()

    async def reconfigure(self, options: Options) -> None:
        pass

    async def chat(self, messages: list[Message], **options: Any) -> Reply:
        raise AssertionError("nobody asks")

    async def stream(self, messages: list[Message], **options: Any) -> AsyncIterator[Delta]:
        try:
            for letter in messages[0].text:
                await asyncio.sleep(0)
                if letter == ".":
                    await asyncio.Event().wait()
                if letter == "!":
                    raise InvalidInput("messages", "are loud")
                yield Delta(text=letter)
        finally:
            self.ended.append(messages[0].text)


@pytest.fixture
async def receiver() -> AsyncIterator[StreamReceiver]:
    made = StreamReceiver("127.0.0.1")
    yield made
    await made.close()


@pytest.fixture
def speller() -> Any:
    return replica(Speller)()


@pytest.fixture
def table(receiver: StreamReceiver, speller: Any) -> Models:
    return Models([Model("m1", "fake", (Language,), LocalHandle(speller), receiver=receiver)])


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What leaves at once, of every connection."""
    seen, leave = list[bytes](), sender_module._Connection._flush

    def watched(way: Any) -> None:
        seen.append(b"".join(way._lines))
        leave(way)

    monkeypatch.setattr(sender_module._Connection, "_flush", watched)
    return seen


def spelled(table: Models, text: str, **how: Any) -> Any:
    return Calls(table, **how).model("writer", Language).stream([Message(role="user", content=text)])


async def spell(table: Models, text: str, **how: Any) -> str:
    return "".join([delta.text async for delta in spelled(table, text, **how)])


async def test_every_item_comes_in_its_order(table: Models) -> None:
    assert await spell(table, "abc\n☂ \"d'") == "abc\n☂ \"d'"
    assert await spell(table, "") == ""


async def test_many_streams_share_one_connection_and_what_is_there_at_once_leaves_at_once(
    table: Models, writes: list[bytes]
) -> None:
    texts = [f"number {number:03}" for number in range(100)]
    assert await asyncio.gather(*(spell(table, text) for text in texts)) == texts
    lines = sum(write.count(b"\n") for write in writes)
    assert lines == 1 + 10 * 100  # one token: one connection
    assert len(writes) < 60  # and not a write for each of 1000 items


async def test_an_error_comes_after_what_was_said_before_it(table: Models) -> None:
    said = list[str]()
    with pytest.raises(InvalidInput, match="are loud"):
        async for delta in spelled(table, "ab!"):
            said.append(delta.text)
    assert "".join(said) in ("", "a", "ab")  # it may overtake them
    with pytest.raises(InvalidInput, match="are loud"):
        await spell(table, "!")
    assert await spell(table, "abc") == "abc"


async def test_leaving_a_stream_ends_it_on_the_replica(table: Models, speller: Any, receiver: StreamReceiver) -> None:
    async with aclosing(spelled(table, "ab.")) as deltas:
        assert [(await anext(deltas)).text, (await anext(deltas)).text] == ["a", "b"]
    await until(lambda: speller.ended == ["ab."])
    assert not receiver._streams


async def test_a_stream_ends_when_its_time_is_over(table: Models, speller: Any, receiver: StreamReceiver) -> None:
    said = list[str]()
    with pytest.raises(RunTimedOut, match=r"0\.2 s"):
        async for delta in spelled(table, "ab.", longest_s=0.2):
            said.append(delta.text)
    assert said == ["a", "b"]
    await until(lambda: speller.ended == ["ab."])
    assert not receiver._streams


async def test_nothing_is_kept_of_a_stream_that_ended(table: Models, receiver: StreamReceiver) -> None:
    assert await spell(table, "ab", longest_s=100) == "ab"
    assert not receiver._streams
    timers = [timer for timer in asyncio.get_running_loop()._scheduled if not timer.cancelled()]  # type: ignore[attr-defined]
    assert not any(timer._callback.__qualname__.startswith("ReceivedStream") for timer in timers)


@pytest.mark.parametrize("first", [b"wrong\n1 {}\n", b"\n", b"x" * 2000, "☂\n".encode()])
async def test_who_does_not_know_the_token_is_cut_off(receiver: StreamReceiver, first: bytes) -> None:
    address = await receiver.address()
    stream = ReceivedStream(receiver, bytes.decode, lambda address, number: None)
    assert receiver.expect(stream) == 1
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(first)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 5)
    assert not stream._waiting
    writer.close()


async def test_who_says_nothing_is_cut_off(receiver: StreamReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "TOKEN_TIMEOUT_S", 0.05)
    address = await receiver.address()
    reader, writer = await asyncio.open_connection(address.host, address.port)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await asyncio.wait_for(reader.readexactly(1), 5)
    writer.close()


async def test_who_knows_it_stays(receiver: StreamReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "TOKEN_TIMEOUT_S", 0.05)
    address = await receiver.address()
    stream = ReceivedStream(receiver, bytes.decode, lambda address, number: None)
    number = receiver.expect(stream)
    _, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(address.token.encode() + b"\n%d he" % number)
    await asyncio.sleep(0.2)
    writer.write(b"llo\n999 for nobody\n")
    await until(lambda: list(stream._waiting) == [b"hello"])
    writer.close()


async def test_where_there_is_no_way_streams_come_over_serve(
    table: Models, speller: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, real = 0, time.monotonic

    async def connect(address: Address) -> Any:
        nonlocal tried
        tried += 1
        raise sender_module.ReceiverUnreachable("a policy forbids it")

    monkeypatch.setattr(sender_module, "_connect", connect)
    assert await spell(table, "abc") == "abc"
    assert await spell(table, "def") == "def"
    assert tried == 1
    monkeypatch.undo()
    monkeypatch.setattr(receiver_module.time, "monotonic", lambda: real() + receiver_module.COOLDOWN_S + 1)
    assert await spell(table, "ghi") == "ghi"
    assert vars(speller)["_sender"]._connections  # by its stream receiver again


async def test_where_nothing_can_listen_streams_come_over_serve(speller: Any) -> None:
    nowhere = StreamReceiver("192.0.2.1")  # an address of documentation, which no interface has
    table = Models([Model("m1", "fake", (Language,), LocalHandle(speller), receiver=nowhere)])
    assert await spell(table, "abc") == "abc"
    assert not nowhere.is_reached_by("m1")
    await nowhere.close()


async def test_an_address_where_nobody_listens_is_said() -> None:
    nobody = StreamReceiver("127.0.0.1")
    address = await nobody.address()
    await nobody.close()
    with pytest.raises(sender_module.ReceiverUnreachable, match=r"127\.0\.0\.1 cannot be reached"):
        await StreamSender().post(address, 1, Speller().stream([Message(role="user", content="a")]))


async def test_a_connection_that_breaks_fails_its_streams_and_the_next_one_has_another(
    table: Models, receiver: StreamReceiver, speller: Any
) -> None:
    deltas = spelled(table, "a" + "b" * 31_000)
    assert (await anext(deltas)).text == "a"
    (way,) = vars(speller)["_sender"]._connections.values()
    way.result()._transport.abort()
    with pytest.raises(ModelUnavailable, match="the connection to the stream receiver is lost"):
        async for _ in deltas:
            pass
    assert await spell(table, "abc") == "abc"
    assert receiver.is_reached_by("m1")
    (other,) = vars(speller)["_sender"]._connections.values()
    assert other is not way
    assert not other.result().lost


async def test_a_whole_answer_may_be_read_as_slowly_as_one_likes(
    table: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver_module, "LATE_ITEM_TIMEOUT_S", 0.05)
    said = list[str]()
    async for delta in spelled(table, "abc", longest_s=0.3):  # it is all here before its time is over
        said.append(delta.text)
        await asyncio.sleep(0.15)
    assert said == ["a", "b", "c"]


async def test_what_cannot_be_read_leaves_nothing_behind(table: Models, receiver: StreamReceiver, speller: Any) -> None:
    stream = spelled(table, "ab.", longest_s=100)
    await anext(stream)
    ((number, arriving),) = receiver._streams.items()
    arriving._read = Delta.model_validate_json
    receiver.take(number, b"{")
    with pytest.raises(ModelFailed):
        async for _ in stream:
            pass
    await until(lambda: speller.ended == ["ab."])
    assert not receiver._streams


async def test_items_lost_on_their_way_are_an_error_and_no_wait_without_end(
    receiver: StreamReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver_module, "LATE_ITEM_TIMEOUT_S", 0.05)

    async def forgetful(address: Address, number: int) -> int:
        receiver.take(number, b"one")
        return 2

    said = list[str]()
    with pytest.raises(ModelUnavailable, match="lost in transit"):
        async for item in ReceivedStream(
            receiver, bytes.decode, lambda *where: asyncio.ensure_future(forgetful(*where))
        ):
            said.append(item)
    assert said == ["one"]


@pytest.mark.usefixtures("in_serve")
async def test_models_that_take_turns_post_too(receiver: StreamReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watched, "happened", [])
    multiplexed_replica = made(Watched, {"b": {"says": "bee"}})
    await multiplexed_replica.reconfigure({"says": "host"})
    stream = ReceivedStream(
        receiver, Delta.model_validate_json, lambda *where: posted(multiplexed_replica, "b", *where)
    )
    assert "".join([delta.text async for delta in stream]) == "bee"


def posted(multiplexed_replica: Any, name: str, address: Address, number: int) -> "asyncio.Future[int]":
    with asking(name):
        return asyncio.ensure_future(
            multiplexed_replica.posted(address, number, "stream", [Message(role="user", content="x")])
        )


async def until(true: Any) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.01)
