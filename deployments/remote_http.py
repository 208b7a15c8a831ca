"""What backends share that ask a provider over HTTP: one client, retries, bounds, and what each failure means.

A provider gets prompts and its key. It is not trusted with more: answers are bounded, redirects are not followed (they
would take the key along), and what it says of an error is quoted short and without the key.
"""

import asyncio
import random
import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import httpx
from pydantic import ConfigDict, Field

from .backend import Backend, Needs
from .backend import Options as BackendOptions
from .errors import InvalidInput, ModelUnavailable
from .remote_address import checked_base, is_loopback, key_of
from .remote_answers import MOST_TEXT, bounded_body, error_of, lines_of
from .retry_after import retry_after

T = TypeVar("T")

LONGEST_REASON = 300  # characters quoted from a provider's error
CONNECT_S = 10.0
VARIABLE = r"^[A-Z][A-Z0-9_]*$"  # capitals only, as no provider's key is: one written there by mistake is refused

ABOUT_THE_MODEL = re.compile(
    r"\bmodel\b.{0,200}\b(not (supported|found|available)|does not exist)|valid model", re.I | re.S
)


class RemoteOptions(BackendOptions):
    """Where a provider is, its key, and how patiently its answers are awaited."""

    # A key that was written where its variable's name belongs must not be shown by the error.
    model_config = ConfigDict(hide_input_in_errors=True)

    base_url: str = Field(description="Where the API begins; https, or http on loopback")
    key_variable: str | None = Field(
        None, pattern=VARIABLE, description="NAME of the environment variable that has the key"
    )
    timeout_s: float = Field(120, gt=0, le=3600, description="Longest for an answer, or between pieces of a stream")
    retries: int = Field(2, ge=0, le=10, description="Further attempts when it is busy, failing or cut off")
    retry_pause_s: float = Field(0.5, gt=0, le=60, description="Before the first retry; doubled for each, with jitter")
    longest_pause_s: float = Field(20, gt=0, le=600, description="A provider that asks for more is given up")


@dataclass(frozen=True)
class Blame:
    """Which argument of ours a provider's refusal is about: `usual`, unless it names one in `names` (its to ours)."""

    usual: str
    names: Mapping[str, str] = field(default_factory=dict[str, str])


class Passing(Exception):
    """A failure that another attempt may not meet.

    Args:
        after_s: the wait the provider asked for.
        untouched: it is certain that the provider has done nothing.
    """

    def __init__(self, reason: str, after_s: float | None = None, untouched: bool = False) -> None:
        super().__init__(reason)
        self.after_s, self.untouched = after_s, untouched


class Connection:
    """A provider as one configuration asks it. Shared by calls; closed once it is retired and the last call has ended.

    Args:
        options: where it is. `key_variable` is read from the environment now, and never shown.
        key_header: the header that carries the key.
        key_prefix: what stands before it.

    Raises:
        ModelUnavailable: the address cannot be used, or the variable is not set.
    """

    def __init__(self, options: RemoteOptions, key_header: str = "Authorization", key_prefix: str = "Bearer ") -> None:
        self.options: Any = options  # the backend's own kind
        self.url = checked_base(options.base_url)
        self.host = self.url.host
        self._key = key_of(options.key_variable)
        headers = {key_header: key_prefix + self._key} if self._key else {}
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(options.timeout_s, connect=min(CONNECT_S, options.timeout_s)),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
            trust_env=not is_loopback(self.host),  # the operator's proxy, but not to this machine
        )
        self._calls = 0
        self._retired = False

    async def retire(self) -> None:
        """No new calls come. Those in flight end as they would have."""
        self._retired = True
        if not self._calls:
            await self._client.aclose()

    @asynccontextmanager
    async def used(self) -> AsyncIterator[None]:
        """Around all that one call of the backend asks: a connection retired meanwhile stays open to its end."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            if self._retired and not self._calls:
                await self._client.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        read: Callable[[bytes], T],
        blame: Blame,
        *,
        most: int = MOST_TEXT,
        creates: bool = False,
        **content: Any,
    ) -> T:
        """What `read` makes of the whole answer; it raises `ValueError` for one that is not what was asked for.

        Args:
            path: appended to the base URL; "" is that URL itself.
            most: bytes accepted.
            creates: what is asked for would be done, and billed, once more if it were asked for again.
            content: httpx's `json`, `content`, `headers`.

        Raises:
            InvalidInput: the provider refused the caller's values.
            ModelUnavailable: it did not answer, refused the key, or answered something else, after retries.
        """

        async def once() -> T:
            async with self._client.stream(method, self._address(path), **content) as response:
                body = await bounded_body(response, most)
            self._check(response, body, blame)
            return _read(read, body, self.host)

        return await self.retried(once, creates)

    async def retried(self, once: Callable[[], Awaitable[T]], creates: bool = False) -> T:
        """What one of the attempts gives; each may take `timeout_s`.

        Args:
            creates: there is another one only where it is certain that the last did nothing: the provider was not
                reached, or was too busy (429).

        Raises:
            ModelUnavailable: the last one failed too.
        """
        for attempt in range(self.options.retries + 1):
            try:
                async with asyncio.timeout(self.options.timeout_s):
                    return await once()
            except (Passing, httpx.TransportError, httpx.DecodingError, TimeoutError) as error:
                passing = self._passing(error)
                if creates and not passing.untouched:
                    raise ModelUnavailable(f"{passing}; not retried, as it may have begun") from None
                await self._pause(attempt, passing)
        raise AssertionError("unreachable")

    async def lines(self, path: str, blame: Blame, **content: Any) -> AsyncGenerator[str, None]:
        """The lines of a stream of server-sent events as they come, but for those that only keep it alive.

        It is asked for again only while no line has left. The time between two lines is limited by `timeout_s`.
        Close the iterator to end the stream: the provider sees the connection close.

        Raises:
            InvalidInput: the provider refused the caller's values.
            ModelUnavailable: it did not answer, refused the key, or was cut off.
        """
        for attempt in range(self.options.retries + 1):
            begun = False
            try:
                async with self._client.stream("POST", self._address(path), **content) as response:
                    if not response.is_success:
                        self._check(response, await bounded_body(response, MOST_TEXT), blame)
                    lines = lines_of(response)
                    while (line := await self._line(lines)) is not None:
                        begun = True
                        yield line
                return
            except (Passing, httpx.TransportError, httpx.DecodingError, TimeoutError) as error:
                passing = self._passing(error)
                if begun:
                    raise ModelUnavailable(str(passing)) from None
                await self._pause(attempt, passing)

    async def _line(self, lines: AsyncIterator[str]) -> str | None:
        """The next that says something: comments may come for ever from a provider that hangs. None after the last."""
        async with asyncio.timeout(self.options.timeout_s):
            async for line in lines:
                if line and not line.startswith(":"):
                    return line
        return None

    def _address(self, path: str) -> str:
        return f"{str(self.url).rstrip('/')}/{path}" if path else str(self.url)

    async def _pause(self, attempt: int, passing: Passing) -> None:
        """Wait before the next attempt, or raise `ModelUnavailable` if there is none."""
        options = self.options
        if attempt >= options.retries:
            raise ModelUnavailable(str(passing)) from None
        wait = options.retry_pause_s * 2**attempt * random.uniform(0.5, 1)  # so that replicas do not come back as one
        if passing.after_s is not None:
            if passing.after_s > options.longest_pause_s:
                raise ModelUnavailable(f"{passing}; its Retry-After is {passing.after_s:.0f} s") from None
            wait = max(wait, passing.after_s + random.uniform(0, options.retry_pause_s))
        await asyncio.sleep(min(wait, options.longest_pause_s))

    def _passing(self, error: Exception) -> Passing:
        """The failure as one to try again, or `ModelUnavailable` if waiting as long again would be no better."""
        if isinstance(error, Passing):
            return error
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            return Passing(f"{self.host} cannot be reached: {self._short(str(error))}", untouched=True)
        if isinstance(error, httpx.TimeoutException | TimeoutError):
            raise ModelUnavailable(f"{self.host} did not answer within {self.options.timeout_s:g} s") from None
        return Passing(f"{self.host} broke off its answer: {self._short(str(error))}")

    def _check(self, response: httpx.Response, body: bytes, blame: Blame) -> None:
        """Raise what an answer that is no success means."""
        status = response.status_code
        if response.is_success:
            return
        variable = self.options.key_variable
        if status == 401:  # its message may quote the key
            used = f"the key in {variable}" if variable else "a request without a key; set key_variable"
            raise ModelUnavailable(f"{self.host} refused {used}")
        said, argument = error_of(body)
        said = self._short(said) or f"HTTP {status}"
        if status in (402, 403):
            raise ModelUnavailable(f"{self.host} does not allow this with the key in {variable}: {said}")
        if status in (400, 413, 422):
            ours = blame.names.get(argument) if argument else blame.usual
            if ours is not None and not ABOUT_THE_MODEL.search(said):
                raise InvalidInput(ours, f"was refused by {self.host}: {said}")
            raise ModelUnavailable(f"{self.host} refused the request: {said}")
        if status in (408, 425, 429) or status >= 500:
            after = retry_after(response.headers.get("retry-after"), time.time())
            raise Passing(f"{self.host} answered {status}: {said}", after, untouched=status == 429)
        raise ModelUnavailable(f"{self.host} answered {status}: {said}")

    def _short(self, text: str) -> str:
        """One line for an error, without the key and not longer than errors should be."""
        text = " ".join(text.split())
        if self._key:
            text = text.replace(self._key, "***")
        return text[:LONGEST_REASON] + ("..." if len(text) > LONGEST_REASON else "")


class Remote(Backend):
    """The life of a backend at a provider's: it has nothing to load but a connection."""

    needs: ClassVar[Needs] = Needs(cpus=0.1, concurrency=16)  # it waits; the provider works

    def __init__(self) -> None:
        self._connection: Connection | None = None

    async def reconfigure(self, options: Any) -> None:
        """Ask elsewhere or otherwise from now on. The provider is not asked; calls in flight end as they began.

        Raises:
            ModelUnavailable: the key's variable is not set, or the address is neither https nor on loopback.
        """
        old, self._connection = self._connection, self._connect(options)
        if old is not None:
            await old.retire()

    def _connect(self, options: Any) -> Connection:
        return Connection(options)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        """The connection for one call, to its end, whatever the options are changed to meanwhile."""
        connection = self._ready()
        async with connection.used():
            yield connection

    def _ready(self) -> Connection:
        """The connection. The provider is not asked whether it answers: another replica would find it as this one."""
        if self._connection is None:
            raise ModelUnavailable("the connection to the provider is not loaded yet")
        return self._connection


def _read(read: Callable[[bytes], T], body: bytes, host: str) -> T:
    try:
        return read(body)
    except ValueError:  # of JSON, of pydantic; their texts quote the answer
        raise Passing(f"{host} sent what its protocol does not have") from None
