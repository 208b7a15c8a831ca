"""The placement of models on GPUs, which `medley plan` shows; GPU fractions follow from the memory in the profile.

A model declares the GPU memory it uses (`gpu_memory_gib`), a kind of node the memory of its GPUs (`gpu_gib`). Their
quotient is the GPU fraction for Ray. torch or vLLM holds the replica's process to the declared memory
(`GPU_MEMORY_GIB`); CTranslate2, faster-whisper's engine, has no such limit. A model whose weights are divided among
several GPUs has them whole, all on one machine.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import InvalidConfig, nearest
from .loading import load_backend
from .multiplexing import multiplexed
from .schema import AppConfig, ModelConfig, NodeConfig

FRACTIONS = 10_000  # Ray counts fractions of a GPU in ten-thousandths


@dataclass(frozen=True)
class Placed:
    """A replica's place on a GPU."""

    model: str
    gib: float
    sleeps: bool = False  # scales to zero


@dataclass
class GPU:
    """A GPU and the replicas placed on it."""

    node: str  # the machine's name
    number: int
    gib: float
    models: list[Placed] = field(default_factory=list[Placed])
    turns: list[Placed] = field(default_factory=list[Placed])  # start when other replicas here have scaled to zero
    kind: str = ""  # the machine's kind of node

    @property
    def free(self) -> float:
        """GPU memory in GiB that no replica has."""
        return self._beside(self.models)

    def takes(self, gib: float, others_asleep: bool = False) -> bool:
        """Whether there is room for a replica, if need be once other replicas have scaled to zero."""
        return self._beside([p for p in self.models if not (others_asleep and p.sleeps)]) - gib > -1e-3 * self.gib

    def _beside(self, models: Sequence[Placed]) -> float:
        return self.gib - sum(fraction(placed.gib, self.gib) * self.gib for placed in models)


@dataclass(frozen=True)
class Problem:
    """A model that does not fit, the reason, and changes that would help."""

    model: str
    why: str
    helps: tuple[str, ...]


@dataclass(frozen=True)
class Shared:
    """The models that share a host's deployment, and how many are in memory at once."""

    others: tuple[str, ...]
    max_loaded: int


@dataclass(frozen=True)
class Plan:
    """The GPUs with their replicas, and the models that do not fit or need no GPU."""

    gpus: list[GPU]
    problems: list[Problem]
    without: list[str]  # models that need no GPU
    shared: dict[str, Shared] = field(default_factory=dict[str, Shared])  # by the host's name


def fraction(gib: float, gpu_gib: float) -> float:
    """The fraction of a GPU for a model, 0 to 1; rounded down, by less than 0.01 %, so that thirds fit a GPU."""
    return max(1, math.floor(round(gib / gpu_gib * FRACTIONS, 6))) / FRACTIONS


def node_for(model: ModelConfig, nodes: Sequence[NodeConfig]) -> NodeConfig | None:
    """The kind of node for a model: the kind it names, else the kind with the smallest GPU that is large enough.

    Raises:
        InvalidConfig: the model names a kind that does not exist or has no GPUs.
    """
    if model.gpu_memory_gib is None:
        return None
    if model.node is not None:
        by_name = {node.name: node for node in nodes}
        if model.node not in by_name:
            raise InvalidConfig(f"{model.name}: there is no kind of node {model.node!r}.{nearest(model.node, by_name)}")
        if not by_name[model.node].gpus:
            raise InvalidConfig(f"{model.name}: nodes of the kind {model.node!r} have no GPUs")
        return by_name[model.node]
    fitting = [node for node in nodes if _holds(node, model)]
    return min(fitting, key=lambda node: node.gpu_gib, default=None)


def gpu_fraction(model: ModelConfig, nodes: Sequence[NodeConfig]) -> float | None:
    """The fraction of each of its GPUs for one replica; None for a model without a GPU.

    Raises:
        InvalidConfig: the model fits on no GPU of the profile.
    """
    if model.gpu_memory_gib is None:
        return None
    node = node_for(model, nodes)
    if node is None or not _holds(node, model):
        problem = _too_large(model, nodes)
        raise InvalidConfig(f"{model.name}: {problem.why}. {'; or '.join(problem.helps)}")
    return fraction(model.gpu_memory_gib, node.gpu_gib) if model.gpus == 1 else 1.0


def _holds(node: NodeConfig, model: ModelConfig) -> bool:
    """Whether a replica of the model fits on an empty node of this kind."""
    return node.gpus >= model.gpus and node.gpu_gib >= (model.gpu_memory_gib or 0)


def plan(app: AppConfig, replicas: Mapping[str, int]) -> Plan:
    """Pack the models onto the GPUs: first the models that do not scale to zero, the largest first, each on the fullest
    GPU with room.

    Args:
        replicas: the minimum number of replicas by model, 1 if absent. A model with 0, which starts on demand, gets a
            place too, or else a place on GPUs of others that scale to zero, with which it takes turns.
    """
    gpus = [
        GPU(node.name if node.count == 1 else f"{node.name} {number + 1}", gpu, node.gpu_gib, kind=node.name)
        for node in app.nodes
        for number in range(node.count)
        for gpu in range(node.gpus)
    ]
    problems = list[Problem]()
    hosts = [model for model in app.models if model.host is None]
    by_host = multiplexed(app.models)
    on_gpu = [model for model in hosts if model.gpu_memory_gib is not None]
    for model in sorted(on_gpu, key=lambda model: (not replicas.get(model.name, 1), -model.gpus, -_gib(model))):
        node = node_for(model, app.nodes)
        if node is None or not _holds(node, model):
            problems.append(_too_large(model, app.nodes))
            continue
        count = replicas.get(model.name, 1)
        placed = Placed(model.name, _gib(model) if model.gpus == 1 else node.gpu_gib, sleeps=not count)
        own = [gpu for gpu in gpus if gpu.kind == node.name]
        if not all(_place(placed, model.gpus, own) for _ in range(max(1, count))):
            problems.append(_full(model, placed, node, own))
    shared = {
        model.name: Shared(tuple(other.name for other in by_host[model.name]), model.max_loaded)
        for model in hosts
        if model.name in by_host
    }
    return Plan(gpus, problems, [model.name for model in hosts if model.gpu_memory_gib is None], shared)


def _place(placed: Placed, count: int, gpus: Sequence[GPU]) -> bool:
    """Put a replica on the fullest `count` GPUs of one machine with room; else, if it scales to zero, where others do.

    Returns False if there is no room.
    """
    if room := _room([gpu for gpu in gpus if gpu.takes(placed.gib)], count, lambda gpu: gpu.free):
        for gpu in room:
            gpu.models.append(placed)
        return True
    asleep = [gpu for gpu in gpus if placed.sleeps and gpu.takes(placed.gib, others_asleep=True)]
    room = _room(asleep, count, lambda gpu: len(gpu.turns))
    for gpu in room:
        gpu.turns.append(placed)
    return bool(room)


def _room(gpus: Sequence[GPU], count: int, order: Callable[[GPU], float]) -> list[GPU]:
    """The first `count` GPUs of one machine, of the machine where they come first; empty if no machine has so many."""
    machines = defaultdict[str, list[GPU]](list)
    for gpu in sorted(gpus, key=order):
        machines[gpu.node].append(gpu)
    enough = [members[:count] for members in machines.values() if len(members) >= count]
    return min(enough, key=lambda members: sum(map(order, members)), default=list[GPU]())


def _too_large(model: ModelConfig, nodes: Sequence[NodeConfig]) -> Problem:
    gib, count = _gib(model), model.gpus
    largest = max((node.gpu_gib for node in nodes if node.gpus >= count), default=0.0)
    if largest:
        why = f"needs {gib:g} GiB of {_counted(count)}; the largest has {largest:g}"
    elif most := max((node.gpus for node in nodes), default=0):
        why = f"needs {_counted(count)} of one machine; the largest has {most}"
    else:
        why = "needs a GPU, but no node has one"
    helps = [f"add a node with {'GPUs' if count == 1 else _counted(count)} of {gib:g} GiB or more to `nodes`"]
    options = load_backend(model.backend).Options.model_fields
    if largest and gib <= 2 * largest:
        offload = " or `savings: [model_offload]`" if "savings" in options else ""
        helps.append(f"use weights of half the precision{offload}, and less `gpu_memory_gib`")
    if largest and "tensor_parallel_size" in options:
        helps += [help for node in nodes if (help := _divided(gib * count, node))]
    return Problem(model.name, why, tuple(helps))


def _divided(gib: float, node: NodeConfig) -> str | None:
    """The settings that divide a replica among a node's GPUs, if it has enough; engines divide by powers of two."""
    count = 2
    while gib / count > node.gpu_gib > 0:
        count *= 2
    if count > node.gpus:
        return None
    each = math.ceil(gib / count)
    return f"set `gpus: {count}`, `gpu_memory_gib: {each}` and `tensor_parallel_size: {count}`, on {node.name}"


def _full(model: ModelConfig, placed: Placed, node: NodeConfig, gpus: Sequence[GPU]) -> Problem:
    if model.gpus == 1:
        most = max((gpu.free for gpu in gpus), default=0.0)
        why = f"needs {placed.gib:g} GiB; the emptiest GPU of {node.name} has {max(most, 0):.1f} left"
        lacks = placed.gib - most
    else:
        why = f"needs {_counted(model.gpus)} of one machine, whole; no {node.name} has that many left"
        lacks = 0.0
    helps = [f"add one more node of the kind {node.name} (`count: {node.count + 1}`)"]
    awake = {other.model for gpu in gpus for other in gpu.models if other.gib >= lacks and not other.sleeps}
    if others := " or ".join(sorted(awake - {model.name})):
        itself = "" if placed.sleeps else f"{model.name} and for "
        helps.append(f"set `min_replicas: 0` for {itself}{others}, so that they take turns")
    return Problem(model.name, why, tuple(helps))


def _gib(model: ModelConfig) -> float:
    return model.gpu_memory_gib or 0


def _counted(gpus: int) -> str:
    return "one GPU" if gpus == 1 else f"{gpus} GPUs"
