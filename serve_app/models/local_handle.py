"""A model in this process behind the same calls as a Serve handle: for unit tests, and for trying a backend alone."""

import asyncio
from typing import Any

from deployments.progress import following


class LocalHandle:
    """`handle.options(...).remote(...)` over a plain object that offers a capability."""

    def __init__(self, model: Any, method: str = "", stream: bool = False) -> None:
        self._model, self._method, self._stream = model, method, stream

    def options(self, *, method_name: str, stream: bool, **how_it_travels: Any) -> "LocalHandle":
        return LocalHandle(self._model, method_name, stream)

    def remote(self, *args: Any, **kwargs: Any) -> "LocalResponse | LocalStream":
        if self._method == "followed":
            return LocalStream(following(getattr(self._model, args[0])(*args[1:], **kwargs)))
        answer = getattr(self._model, self._method)(*args, **kwargs)
        return LocalStream(answer) if self._stream else LocalResponse(answer)


class LocalResponse:
    """An answer that can be awaited once, or cancelled."""

    def __init__(self, answer: Any) -> None:
        self._task = asyncio.ensure_future(answer)

    def __await__(self) -> Any:
        return self._task.__await__()

    def cancel(self) -> None:
        self._task.cancel()


class LocalStream:
    """Items as they come."""

    def __init__(self, items: Any) -> None:
        self._items = items
        self.cancelled = False

    def __aiter__(self) -> Any:
        return self._items.__aiter__()

    def cancel(self) -> None:
        self.cancelled = True
