"""The stores of artifacts' bytes, a folder or a bucket. A key names the bytes, which are stored whole or not at all."""

import asyncio
import contextlib
import errno
import importlib
import os
import tempfile
from collections.abc import Awaitable, Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from ..errors import InvalidConfig, StorageUnavailable

# A store that does not answer is reported within seconds; botocore's defaults are a minute, five times. Its timeouts do
# not apply while it waits for permission to send (`Expect: 100-continue`), so each request has a total timeout too.
S3_TIMEOUTS = {"connect_timeout": 2, "read_timeout": 4, "retries": {"mode": "standard", "total_max_attempts": 2}}
S3_TIMEOUT_S, S3_MIN_BYTES_PER_S = 9.0, 1_000_000  # the total timeout, which grows with the size


class Store(Protocol):
    """A store of bytes by key. Keys contain `/` and come from `_prefix`, which keeps them within the root."""

    piece: int  # bytes to read at a time

    def put(self, key: str, data: bytes) -> None:
        """Store the bytes, all or nothing."""
        ...

    def read(self, key: str, start: int, stop: int) -> bytes | None:
        """The bytes from `start` up to `stop`; None if the store answers and does not have the key."""
        ...

    def delete(self, keys: Sequence[str]) -> None: ...

    def names(self, prefix: str) -> list[str]:
        """Every key that begins with the prefix, which ends with `/`."""
        ...

    def older(self, prefix: str, before: float) -> Iterator[str]:
        """Every key that begins with the prefix, in any folder below, and was stored before a time (seconds since the
        epoch)."""
        ...

    def sign(self, key: str, media_type: str, name: str, seconds: int) -> str | None:
        """A URL signed by the store, if it can sign."""
        ...


def open_store(url: str) -> Store:
    scheme, _, rest = url.partition("://")
    bucket, _, prefix = rest.partition("/")
    if scheme == "s3" and bucket:
        return Bucket(bucket, prefix.strip("/"))
    if not Path(url).is_absolute():
        raise InvalidConfig("MEDLEY_ARTIFACTS_URL must be an absolute path of a folder, or s3://bucket/prefix.")
    return Directory(Path(url))


class Directory:
    """A folder as a store. If it disappears with its disk, it is not created again: the files are elsewhere."""

    piece = 256 * 1024

    def __init__(self, root: Path) -> None:
        self._root = root
        self._created = False

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
            _sync(path.parent)  # the name must survive a power cut too

    def _draft(self, folder: Path) -> tuple[int, str]:
        for _ in range(20):
            # Either is raised if `delete` removes the empty folder in between.
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
                with contextlib.suppress(OSError):  # the folder is not empty, or is gone
                    folder.rmdir()

    def names(self, prefix: str) -> list[str]:
        with self._answering():
            try:
                return [prefix + name for name in os.listdir(self._root / prefix)]
            except FileNotFoundError:
                return []

    def older(self, prefix: str, before: float) -> Iterator[str]:
        """Includes the drafts of writes that a crash cut off."""
        with self._answering():
            for folder, _, names in os.walk(self._root / prefix):
                for name in names:
                    path = Path(folder, name)
                    with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                        if path.stat().st_mtime < before:
                            yield str(path.relative_to(self._root))

    def sign(self, key: str, media_type: str, name: str, seconds: int) -> str | None:
        return None

    @contextlib.contextmanager
    def _answering(self) -> Generator[None]:
        try:
            if not self._created:
                self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._created = True
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
    """A bucket of S3, or of a compatible service, as a store."""

    piece = 2 * 1024 * 1024  # each piece is a request

    def __init__(self, bucket: str, prefix: str) -> None:
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        try:
            # Imported here, because most services use a folder and need not wait for botocore.
            library: Any = importlib.import_module("s3fs")
        except ImportError:
            raise InvalidConfig("MEDLEY_ARTIFACTS_URL: s3:// needs the package s3fs (pip install s3fs).") from None
        # No shared instance and no cached listings: fsspec would keep stale state after an outage.
        self._files: Any = library.S3FileSystem(
            skip_instance_cache=True,
            use_listings_cache=False,
            config_kwargs={**S3_TIMEOUTS, "signature_version": "s3v4"},
        )
        self._files.retries = 1  # botocore retries already
        self._wait: Any = importlib.import_module("fsspec.asyn").sync  # runs a coroutine in fsspec's own event loop
        self._failures = (
            OSError,
            importlib.import_module("botocore.exceptions").BotoCoreError,
            importlib.import_module("botocore.exceptions").ClientError,
            importlib.import_module("aiohttp").ClientError,
        )

    def put(self, key: str, data: bytes) -> None:
        with self._answering():
            self._call(self._files._pipe_file, len(data), self._path(key), data)

    def read(self, key: str, start: int, stop: int) -> bytes | None:
        with self._answering():
            try:
                return self._call(self._files._cat_file, stop - start, self._path(key), start=start, end=stop)
            except FileNotFoundError as error:
                if "NoSuchBucket" in str(error.__cause__):  # s3fs raises the same error if the bucket is missing
                    raise
                return None

    def delete(self, keys: Sequence[str]) -> None:
        with self._answering():
            for at in range(0, len(keys), 1000):  # S3 deletes at most 1000 objects per request
                objects = [{"Key": self._prefix + key} for key in keys[at : at + 1000]]
                request = {"Objects": objects, "Quiet": True}
                answer = self._call(self._files._call_s3, 0, "delete_objects", Bucket=self._bucket, Delete=request)
                if answer.get("Errors"):
                    raise OSError(errno.EIO, answer["Errors"][0].get("Code", ""))

    def names(self, prefix: str) -> list[str]:
        return [key for key, _ in self._listed(prefix)]

    def older(self, prefix: str, before: float) -> Iterator[str]:
        return (key for key, stored_at in self._listed(prefix) if stored_at < before)

    def _listed(self, prefix: str) -> Iterator[tuple[str, float]]:
        """The keys that begin with the prefix, and when each was stored, a page at a time."""
        next_page: dict[str, str] = {}
        while True:
            request = {"Bucket": self._bucket, "Prefix": self._prefix + prefix, **next_page}
            with self._answering():
                answer = self._call(self._files._call_s3, 0, "list_objects_v2", **request)
            for entry in answer.get("Contents", []):
                yield entry["Key"].removeprefix(self._prefix), entry["LastModified"].timestamp()
            if not answer.get("IsTruncated"):
                return
            next_page = {"ContinuationToken": answer["NextContinuationToken"]}

    def sign(self, key: str, media_type: str, name: str, seconds: int) -> str | None:
        with self._answering():
            return self._call(
                self._files._url,
                0,
                self._path(key),
                expires=seconds,
                ResponseContentType=media_type,
                ResponseContentDisposition=f'attachment; filename="{name}"',
            )

    def _call(self, method: Callable[..., Awaitable[Any]], size: int, /, *args: Any, **kwargs: Any) -> Any:
        """The result of an asynchronous method of s3fs (named with an underscore). `size` is in bytes."""

        async def limited() -> Any:
            async with asyncio.timeout(S3_TIMEOUT_S + size / S3_MIN_BYTES_PER_S):
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
    """The error for a store that does not answer, without keys, addresses and paths, which libraries' messages have."""
    number = error.errno if isinstance(error, OSError) else None
    return StorageUnavailable(
        f"The artifact store does not answer: {os.strerror(number) if number else type(error).__name__}."
    )
