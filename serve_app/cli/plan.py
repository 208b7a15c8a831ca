"""The text drawing of a GPU, which `medley plan` shows."""

from ..config.placement import GPU, fraction


def drawn(gpu: GPU, width: int = 60) -> str:
    """A GPU as a bar in which each model's letter has the length of its GPU fraction, with a legend."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    bar, legend = "", list[str]()
    for number, placed in enumerate(gpu.models):
        letter = letters[number % len(letters)]
        bar += letter * max(1, round(width * placed.gib / gpu.gib))
        legend.append(f"{letter} {placed.model} {placed.gib:g} GiB ({fraction(placed.gib, gpu.gib):.0%})")
    legend.append(f"{max(gpu.free, 0):.1f} GiB free")
    legend += [f"in turns with others: {placed.model} {placed.gib:g} GiB" for placed in gpu.turns]
    return f"[{bar[:width].ljust(width, '.')}]  {', '.join(legend)}"
