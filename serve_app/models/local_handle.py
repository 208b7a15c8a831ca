"""A stand-in for a Serve handle over a model in this process: for unit tests, and for trying a backend alone."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from deployments.capabilities import capabilities_of
from deployments.progress import following

from .methods import methods_of


class LocalHandle:
    """`handle.options(...).remote(...)` over a plain object that offers a capability.

    A call is checked against the capability's signature: a fake that accepts any keyword would hide a misspelt keyword.
    """

    def __init__(self, model: Any, method: str = "", stream: bool = False) -> None:
        self._model, self._method, self._stream = model, method, stream

    def options(self, *, method_name: str, stream: bool, **transport: Any) -> "LocalHandle":
        return LocalHandle(self._model, method_name, stream)

    def remote(self, *args: Any, **kwargs: Any) -> "LocalResponse | LocalStream":
        """Call the method that `options` named.

        Raises:
            TypeError: the capability's method has no such argument.
        """
        if self._method == "followed":
            method, tasks, *rest = args
            self._check(method, tuple(rest), kwargs)
            return LocalStream(following(getattr(self._model, method)(*rest, **kwargs), tasks))
        self._check(self._method, args, kwargs)
        answer = getattr(self._model, self._method)(*args, **kwargs)
        return LocalStream(answer) if self._stream else LocalResponse(answer)

    def _check(self, method: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        for capability in capabilities_of(cast(type[Any], type(self._model))):
            signature = methods_of(capability).get(method)
            if signature is None:
                continue
            known = signature.parameters
            if len(args) > len(known):
                raise TypeError(f"{capability.__name__}.{method} takes at most {len(known)} arguments")
            if unknown := sorted(set(kwargs) - set(known[len(args) :])):
                raise TypeError(f"{capability.__name__}.{method} has no argument {unknown[0]!r}")


class LocalResponse:
    """An answer that can be awaited once, or cancelled."""

    def __init__(self, answer: Any) -> None:
        self._task = asyncio.ensure_future(answer)

    def __await__(self) -> Any:
        return self._task.__await__()

    def cancel(self) -> None:
        self._task.cancel()


class LocalStream:
    """The items of a stream, which can be cancelled."""

    def __init__(self, items: Any) -> None:
        self._items = items
        self.cancelled = False

    def __aiter__(self) -> Any:
        return self._items.__aiter__()

    def cancel(self) -> None:
        self.cancelled = True
