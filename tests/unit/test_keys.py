"""The API key: made once, read by its owner only, and compared in constant time."""

import hmac
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from serve_app.accounts.keys import SingleKey, key_path, open_key
from serve_app.config.settings import Settings
from serve_app.identity import Identity

OPEN = """
import sys
from pathlib import Path
from serve_app.accounts.keys import open_key
from serve_app.config.settings import Settings
print("ready", flush=True)
sys.stdin.readline()
print(*open_key(Settings(Path(sys.argv[1]), None)))
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_made_once(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "home", None)
    key, made = open_key(settings)
    assert made
    assert len(key) >= 40
    assert open_key(settings) == (key, False)
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["api_key"]


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "home", None)
    open_key(settings)
    assert (mode(key_path(settings)), mode(tmp_path / "home")) == (0o600, 0o700)
    key_path(settings).chmod(0o644)
    open_key(settings)
    assert mode(key_path(settings)) == 0o600


def test_no_two_homes_share_a_key(tmp_path: Path) -> None:
    assert open_key(Settings(tmp_path / "a", None)) != open_key(Settings(tmp_path / "b", None))


def test_threads_that_start_together_get_one_key(tmp_path: Path) -> None:
    settings, together = Settings(tmp_path, None), Barrier(32)

    def work(_: int) -> tuple[str, bool]:
        together.wait()
        return open_key(settings)

    with ThreadPoolExecutor(32) as pool:
        found = list(pool.map(work, range(32)))
    assert len({key for key, _ in found}) == 1
    assert [made for _, made in found].count(True) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["api_key"]


def test_processes_that_start_together_get_one_key(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPEN, str(tmp_path)]
    processes = [subprocess.Popen(command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(4)]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    found = [process.communicate()[0].split() for process in processes]
    assert len({key for key, _ in found}) == 1
    assert sorted(made for _, made in found) == ["False", "False", "False", "True"]


def test_the_environment_wins_and_nothing_is_written(tmp_path: Path) -> None:
    home = tmp_path / "home"
    settings = Settings.from_environment({"MEDLEY_HOME": str(home), "MEDLEY_API_KEY": "from-outside"})
    assert open_key(settings) == ("from-outside", False)
    assert not home.exists()


async def test_a_key_from_a_secret_with_a_line_end_opens_the_door() -> None:
    settings = Settings.from_environment({"MEDLEY_API_KEY": "from-outside\n"})
    assert await SingleKey(open_key(settings)[0]).identify(b"from-outside") == Identity("local")


@pytest.mark.parametrize("credential", [b"", b"k", b"key ", b"KEY", b"key\x00", b"\xff\xfe", b"x" * 100_000])
async def test_any_other_key_is_nobodys(credential: bytes) -> None:
    assert await SingleKey("key").identify(b"key") == Identity("local")
    assert await SingleKey("key").identify(credential) is None


async def test_right_and_wrong_keys_take_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def watched(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr("serve_app.accounts.keys.hmac.compare_digest", watched)
    for credential in (b"key", b"k", b"x" * 1000):
        await SingleKey("key").identify(credential)
    assert compared == [(32, 32)] * 3
