"""The consoles of the command line. They print a text as it is: a user's `[red]` or `:red_circle:` is no markup."""

import sys

from rich.console import Console

console = Console(markup=False, emoji=False, highlight=False)
errors = Console(stderr=True, markup=False, emoji=False, highlight=False)


def print_any_character() -> None:
    """Let both consoles print what their encoding cannot hold as an escape: a file's name may be in another one."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)  # a stream that a test put there has none
        if reconfigure:
            reconfigure(errors="backslashreplace")
