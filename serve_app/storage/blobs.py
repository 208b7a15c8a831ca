"""Where artifacts' bytes are: a folder or a bucket. A key names them, and they are there whole or not at all."""

import asyncio
import contextlib
import errno
import importlib
import os
import tempfile
from collections.abc import Awaitable, Callable, Generator, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..errors import InvalidConfig, StorageUnavailable

# A store that is away is told of within seconds. botocore's own defaults are a minute, five times. Its time limits do
# not hold while it waits for leave to send (`Expect: 100-continue`), so each request has a last moment of its own too.
S3_TIMEOUTS = {"connect_timeout": 2, "read_timeout": 4, "retries": {"mode": "standard", "total_max_attempts": 2}}
S3_LONGEST_S, S3_SLOWEST = 9.0, 1_000_000  # seconds, and the bytes for which there is one second more


class Store(Protocol):
    """Bytes by key. Keys have `/` in them and come from `_prefix`, which lets nothing out of the root."""

    piece: int  # bytes to read at a time

    def put(self, key: str, data: bytes) -> None:
        """Store all of it, or nothing."""
        ...

    def read(self, key: str, start: int, stop: int) -> bytes | None:
        """The bytes from `start` up to `stop`; None where the store answers and has nothing of this key."""
        ...

    def delete(self, keys: Sequence[str]) -> None: ...

    def names(self, prefix: str) -> list[str]:
        """Every key that begins so; the prefix ends with `/`."""
        ...

    def sign(self, key: str, media_type: str, name: str, seconds: int) -> str | None:
        """A URL of the store's own, if it has such."""
        ...


def open_store(url: str) -> Store:
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme == "s3" and bucket:
        return Bucket(bucket, prefix.strip("/"))
    if not Path(url).is_absolute():
        raise InvalidConfig("MEDLEY_ARTIFACTS_URL must be an absolute folder, or s3://bucket/prefix.")
    return Directory(Path(url))


class Directory:
    """A folder. One that goes away, with the disk it is on, is not made anew: the files are elsewhere."""

    piece = 256 * 1024

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made = False

    def put(self, key: str, data: bytes) -> None:
        path = self._root / key
        with self._answering():
            descriptor, draft = self._draft(path.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(draft, path)
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise
            _sync(path.parent)  # the name too outlives a power cut

    def _draft(self, folder: Path) -> tuple[int, str]:
        for _ in range(20):
            # Either may be raised where `delete` takes the empty folder away in between.
            with contextlib.suppress(FileNotFoundError, FileExistsError):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                return tempfile.mkstemp(dir=folder, prefix=".")
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))

    def read(self, key: str, start: int, stop: int) -> bytes | None:
        with self._answering():
            try:
                with open(self._root / key, "rb") as file:
                    file.seek(start)
                    return file.read(stop - start)
            except FileNotFoundError:
                return None

    def delete(self, keys: Sequence[str]) -> None:
        with self._answering():
            for key in keys:
                (self._root / key).unlink(missing_ok=True)
            for folder in {(self._root / key).parent for key in keys}:
                with contextlib.suppress(OSError):  # others are in it, or it is gone
                    folder.rmdir()

    def names(self, prefix: str) -> list[str]:
        with self._answering():
            try:
                return [prefix + name for name in os.listdir(self._root / prefix)]
            except FileNotFoundError:
                return []

    def sign(self, key: str, media_type: str, name: str, seconds: int) -> str | None:
        return None

    @contextlib.contextmanager
    def _answering(self) -> Generator[None]:
        try:
            if not self._made:
                self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._made = True
            elif not self._root.is_dir():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            yield
        except OSError as error:
            raise _unavailable(error) from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Bucket:
    """S3, or what speaks like it."""

    piece = 2 * 1024 * 1024  # each piece is a request

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        try:
            # Loaded here, because most services have a folder and need not wait for botocore.
            library: Any = importlib.import_module("s3fs")
        except ImportError:
            raise InvalidConfig("MEDLEY_ARTIFACTS_URL: s3:// needs s3fs (pip install s3fs).") from None
        # An instance and listings of one's own: fsspec shares both, and would remember what was before an outage.
        self._files: Any = library.S3FileSystem(
            skip_instance_cache=True,
            use_listings_cache=False,
            config_kwargs={**S3_TIMEOUTS, "signature_version": "s3v4"},
        )
        self._files.retries = 1  # botocore repeats already
        self._wait: Any = importlib.import_module("fsspec.asyn").sync  # runs a coroutine in fsspec's own event loop
        self._failures = (
            OSError,
            importlib.import_module("botocore.exceptions").BotoCoreError,
            importlib.import_module("botocore.exceptions").ClientError,
            importlib.import_module("aiohttp").ClientError,
        )

    def put(self, key: str, data: bytes) -> None:
        with self._answering():
            self._ask(self._files._pipe_file, len(data), self._path(key), data)

    def read(self, key: str, start: int, stop: int) -> bytes | None:
        with self._answering():
            try:
                return self._ask(self._files._cat_file, stop - start, self._path(key), start=start, end=stop)
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error.__cause__):  # s3fs says the same where the whole bucket is missing
                    raise
                return None

    def delete(self, keys: Sequence[str]) -> None:
        with self._answering():
            for at in range(0, len(keys), 1000):  # as many as S3 takes at a time
                objects = [{"Key": self._prefix + key} for key in keys[at : at + 1000]]
                wanted = {"Objects": objects, "Quiet": True}
                answer = self._ask(self._files._call_s3, 0, "delete_objects", Bucket=self._bucket, Delete=wanted)
                if answer.get("Errors"):
                    raise OSError(errno.EIO, answer["Errors"][0].get("Code", ""))

    def names(self, prefix: str) -> list[str]:
        found: list[str] = []
        more: dict[str, str] = {}
        with self._answering():
            while True:
                where = {"Bucket": self._bucket, "Prefix": self._prefix + prefix, **more}
                answer = self._ask(self._files._call_s3, 0, "list_objects_v2", **where)
                found += [entry["Key"].removeprefix(self._prefix) for entry in answer.get("Contents", [])]
                if not answer.get("IsTruncated"):
                    return found
                more = {"ContinuationToken": answer["NextContinuationToken"]}

    def sign(self, key: str, media_type: str, name: str, seconds: int) -> str | None:
        with self._answering():
            return self._ask(
                self._files._url,
                0,
                self._path(key),
                expires=seconds,
                ResponseContentType=media_type,
                ResponseContentDisposition=f'attachment; filename="{name}"',
            )

    def _ask(self, method: Callable[..., Awaitable[Any]], size: int, /, *args: Any, **kwargs: Any) -> Any:
        """What s3fs's method answers; fsspec names the asynchronous ones with an underscore. `size` is in bytes."""

        async def limited() -> Any:
            async with asyncio.timeout(S3_LONGEST_S + size / S3_SLOWEST):
                return await method(*args, **kwargs)

        return self._wait(self._files.loop, limited)

    def _path(self, key: str) -> str:
        return f"{self._bucket}/{self._prefix}{key}"

    @contextlib.contextmanager
    def _answering(self) -> Generator[None]:
        try:
            yield
        except self._failures as error:
            raise _unavailable(error) from error


def _unavailable(error: Exception) -> StorageUnavailable:
    """In words that name no key, address or path: what libraries say may."""
    number = error.errno if isinstance(error, OSError) else None
    return StorageUnavailable(
        f"The artifact store does not answer: {os.strerror(number) if number else type(error).__name__}."
    )
