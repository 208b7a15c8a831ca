"""What a run of the tests covered: at its end a row for each backend, with the contract that drove it."""

from collections import Counter
from typing import Any

from deployments import BACKENDS
from deployments.capabilities import capabilities_of

from .harness import CONTRACTS

Outcome = str  # passed, skipped, failed
OUTCOMES: tuple[Outcome, ...] = ("passed", "skipped", "failed")


def backend_of(item: Any) -> str | None:
    """Whose test it is: named by a parameter, else by its class (`TestSAM2`) or its file (`test_vllm_tools`)."""
    callspec = getattr(item, "callspec", None)
    for value in callspec.params.values() if callspec else ():
        if isinstance(value, str) and value in BACKENDS:
            return value
    for name, backend in BACKENDS.items():
        if item.cls is not None and item.cls.__name__ == f"Test{backend.__name__}":
            return name
    return next((name for name in BACKENDS if item.path.stem.startswith(f"test_{name}")), None)


class Covered:
    """Outcomes, counted by backend and file."""

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, Counter[Outcome]]] = {}

    def count(self, item: Any, report: Any) -> None:
        """Take a report of a test's set-up, call or end: each test counts once, or twice if its end fails too."""
        backend = backend_of(item)
        if backend and (report.when == "call" or not report.passed):
            files = self.counts.setdefault(backend, {})
            files.setdefault(item.path.stem, Counter())[report.outcome] += 1

    def table(self) -> list[str]:
        """Lines: a backend, its capability's contract with counts, and the other files that drove it."""
        head = f"{'backend':28}{'contract':22}" + "".join(f"{outcome:>8}" for outcome in OUTCOMES) + "  beside it"
        lines = [head] if self.counts else []
        for backend, files in sorted(self.counts.items()):
            contract = CONTRACTS[capabilities_of(BACKENDS[backend])[0]]
            counts = files.get(contract, Counter())
            beside = [f"{_short(file)} {_brief(files[file])}" for file in sorted(files) if file != contract]
            row = "".join(f"{counts[outcome]:8}" for outcome in OUTCOMES)
            lines.append(f"{backend:28}{_short(contract):22}{row}  {', '.join(beside)}".rstrip())
        return lines


def _short(file: str) -> str:
    return file.removeprefix("test_")


def _brief(counts: "Counter[Outcome]") -> str:
    return " ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome])
