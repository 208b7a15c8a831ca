"""`medley plan` draws each GPU of a profile as text."""

from ..config.placement import Card, share


def drawn(card: Card, width: int = 60) -> str:
    """A card as a bar: one letter a model, its share in the bar's length, and a legend."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    bar, legend = "", list[str]()
    for number, placed in enumerate(card.models):
        letter = letters[number % len(letters)]
        bar += letter * max(1, round(width * placed.gib / card.gib))
        legend.append(f"{letter} {placed.model} {placed.gib:g} GiB ({share(placed.gib, card.gib):.0%})")
    legend.append(f"{max(card.free, 0):.1f} GiB free")
    legend += [f"in turns with others: {placed.model} {placed.gib:g} GiB" for placed in card.turns]
    return f"[{bar[:width].ljust(width, '.')}]  {', '.join(legend)}"
