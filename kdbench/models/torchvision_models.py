"""Any classifier of torchvision, freshly initialised, looked into at a few depths.

Its graph is traced by torch.fx. Where everything later depends on the past through one tensor alone, the
network can be cut. The last cut at every resolution ends a stage; a network of one resolution (a vision
transformer) is cut at four even depths, its tokens laid out as a map again.
"""

import math
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, fx, nn

from kdbench.errors import Mistake, UserError
from kdbench.models.layers import Dropout, pooled
from kdbench.models.outputs import Outputs
from kdbench.models.registry import Site, family

_PASSING = (Dropout, nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.MaxPool2d)
_FLAT_STAGES = 4  # of networks of one resolution


class TorchvisionNetwork(nn.Module):
    """A traced classifier. `preacts` are the inputs of the stages' ReLUs; of a stage without, its features.

    `site.dropout` replaces the probability of every dropout in it, and stochastic depth is off: it would draw
    from torch's global generator.
    """

    def __init__(self, classifier: nn.Module, site: Site):
        super().__init__()
        from torchvision.models.feature_extraction import create_feature_extractor

        _prepare(classifier, site)
        tracer = {"leaf_modules": [Dropout]}
        points = _points(classifier, site, tracer)
        nodes = dict.fromkeys([*points.features, *points.preacts, points.logits])
        if points.embedding is not None:
            nodes[points.embedding] = None
        self.points = points
        self.extractor = create_feature_extractor(
            classifier, list(nodes), tracer_kwargs=tracer, suppress_diff_warning=True
        )

    def forward(self, images: Tensor) -> Outputs:
        """(B, c, h, w) normalised images."""
        values = self.extractor(images)
        points = self.points
        features = tuple(_as_map(values[name], points.channels_last) for name in points.features)
        preacts = tuple(_as_map(values[name], points.channels_last) for name in points.preacts)
        embedding = pooled(features[-1]) if points.embedding is None else values[points.embedding]
        return Outputs(values[points.logits], features, preacts, embedding)


@dataclass(frozen=True)
class _Points:
    """Names of the nodes that a network shows."""

    features: tuple[str, ...]
    preacts: tuple[str, ...]
    embedding: str | None  # None: the mean over the last feature's map
    logits: str
    channels_last: bool  # whether its maps may be (B, h, w, c)


def _prepare(classifier: nn.Module, site: Site) -> None:
    """Fit the first convolution to the images; no randomness but kdbench's, nothing overwritten in place."""
    from torchvision.ops import StochasticDepth

    for module in list(classifier.modules()):
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]  # else a ReLU destroys the pre-activation
        for name, child in module.named_children():
            if isinstance(child, nn.Dropout):
                setattr(module, name, Dropout(site.dropout))
            elif isinstance(child, StochasticDepth):
                setattr(module, name, nn.Identity())
    first = next(module for module in classifier.modules() if isinstance(module, nn.Conv2d))
    if first.in_channels != site.shape[0]:
        first.in_channels = site.shape[0]
        first.weight = nn.Parameter(torch.empty(first.out_channels, site.shape[0], *first.kernel_size))
        first.reset_parameters()
    # Images that it cannot take fail here; later torch.fx would print its own report of it.
    with torch.no_grad():
        classifier.eval()(torch.zeros(1, *site.shape))


def _points(classifier: nn.Module, site: Site, tracer: dict[str, Any]) -> _Points:
    from torchvision.models import SwinTransformer
    from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

    names = get_graph_node_names(classifier, tracer_kwargs=tracer, suppress_diff_warning=True)[1]
    everything = create_feature_extractor(classifier, names, tracer_kwargs=tracer, suppress_diff_warning=True)
    everything.eval()
    with torch.no_grad():
        values = everything(torch.zeros(1, *site.shape))
    output = next(node for node in everything.graph.nodes if node.op == "output")
    graph = _Graph(everything, {node: name for name, node in output.args[0].items()}, values)
    channels_last = isinstance(classifier, SwinTransformer)
    features = _stage_ends(graph, site, channels_last)
    embedding = graph.input_of_last_linear()
    return _Points(
        features=tuple(map(graph.name_of, features)),
        preacts=tuple(graph.name_of(graph.before_relu(node)) for node in features[1:]),
        embedding=None if embedding is None else graph.name_of(embedding),
        logits=names[-1],
        channels_last=channels_last,
    )


class _Graph:
    """The nodes of a traced network that hold tensors which depend on the images, in order of execution."""

    def __init__(self, extractor: nn.Module, names: dict[fx.Node, str], values: dict[str, Any]):
        self._modules = dict(extractor.named_modules())
        self._names = names
        self._values = values
        reached: set[fx.Node] = set()
        for node in names:
            fed = node.op == "placeholder" or any(source in reached for source in node.all_input_nodes)
            if fed and _holds_tensors(values[names[node]]):
                reached.add(node)
        self.nodes = [node for node in names if node in reached]

    def name_of(self, node: fx.Node) -> str:
        return self._names[node]

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Of the node's tensor; () for several tensors."""
        value = self._values[self._names[node]]
        return tuple(value.shape) if isinstance(value, Tensor) else ()

    def module(self, node: fx.Node) -> nn.Module | None:
        return self._modules[str(node.target)] if node.op == "call_module" else None

    def works(self, node: fx.Node) -> bool:
        """Whether the node is a convolution, a linear layer or a block of them."""
        module = self.module(node)
        return module is not None and any(parameter.ndim >= 2 for parameter in module.parameters())

    def cuts(self) -> list[fx.Node]:
        """Nodes before the last layer through which alone everything later depends on the images."""
        place = {node: index for index, node in enumerate(self.nodes)}
        last_use = [
            max((place[user] for user in node.users if user in place), default=-1) for node in self.nodes
        ]
        found, furthest = [], -1
        for index, node in enumerate(self.nodes):
            if furthest <= index < last_use[index]:
                found.append(node)
            furthest = max(furthest, last_use[index])
        classifier = max(place[node] for node in self.nodes if self.works(node))
        return [node for node in found if 0 < place[node] < classifier and not self._is_passing(node)]

    def _is_passing(self, node: fx.Node) -> bool:
        """Whether the node only pools or drops: what follows a stage, not its end."""
        return isinstance(self.module(node), _PASSING) or "pool" in getattr(node.target, "__name__", "")

    def before_relu(self, node: fx.Node) -> fx.Node:
        """What this node's ReLU receives; the node itself where it is none."""
        return node.all_input_nodes[0] if isinstance(self.module(node), nn.ReLU) else node

    def input_of_last_linear(self) -> fx.Node | None:
        linear = [node for node in self.nodes if isinstance(self.module(node), nn.Linear)]
        source = linear[-1].all_input_nodes[0] if linear else None
        return source if source is not None and len(self.shape(source)) == 2 else None


def _stage_ends(graph: _Graph, site: Site, channels_last: bool) -> list[fx.Node]:
    """Stem and stages: the last cut of every resolution at which the network works."""
    _, height, width = site.shape
    resolutions: dict[tuple[int, int], list[fx.Node]] = {}
    working = {
        _resolution(graph.shape(node), channels_last)
        for node in graph.nodes
        if graph.works(node) and len(graph.shape(node)) in (3, 4)
    }
    for node in graph.cuts():
        if len(graph.shape(node)) not in (3, 4):
            continue
        rows, columns = resolution = _resolution(graph.shape(node), channels_last)
        if resolution in working and abs(rows * width - columns * height) <= max(height, width):
            resolutions.setdefault(resolution, []).append(node)
    groups = list(resolutions.values())
    if len(groups) > 1:
        return [group[-1] for group in groups]
    cuts = groups[0]
    ends = [round(len(cuts) * (number + 1) / _FLAT_STAGES) - 1 for number in range(_FLAT_STAGES)]
    return [cuts[0], *(cuts[end] for end in ends)]


def _resolution(shape: tuple[int, ...], channels_last: bool) -> tuple[int, int]:
    rows, columns = _as_map(torch.empty(shape, device="meta"), channels_last).shape[-2:]
    return rows, columns


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(map(_holds_tensors, value))
    return isinstance(value, Tensor)


def _as_map(value: Tensor, channels_last: bool) -> Tensor:
    """(B, c, h, w) of a map in either layout, or of tokens (B, n, c) less the class tokens before them."""
    if value.ndim == 3:
        side = math.isqrt(value.shape[1])
        return value[:, -side * side :].transpose(1, 2).reshape(value.shape[0], -1, side, side)
    if channels_last and value.shape[1] == value.shape[2] != value.shape[3]:
        return value.permute(0, 3, 1, 2)
    return value


@cache
def _classifiers() -> tuple[str, ...]:
    import torchvision

    return tuple(f"torchvision:{name}" for name in torchvision.models.list_models(module=torchvision.models))


@family(
    "torchvision:<classifier>",
    "torchvision:([a-z0-9_]+)",
    examples=("torchvision:resnet18", "torchvision:mobilenet_v3_small"),
    valid=lambda name: f"torchvision:{name}" in _classifiers(),
    more=_classifiers,
)
def torchvision_model(site: Site, name: str) -> nn.Module:
    """A classifier of torchvision, not trained. Raises UserError for images that it cannot take."""
    import torchvision

    options: dict[str, Any] = {"num_classes": site.classes}
    if name in ("googlenet", "inception_v3"):
        options |= {"aux_logits": False, "init_weights": True}
    if name.startswith("vit_"):
        options["image_size"] = site.shape[1]
    if name.startswith("maxvit_"):
        options["input_size"] = site.shape[1:]
    try:
        classifier = torchvision.models.get_model(name, weights=None, **options)
        return TorchvisionNetwork(classifier, site).train()
    except (RuntimeError, ValueError, AssertionError, IndexError) as failure:
        given = f"'torchvision:{name}', which cannot take images of {'x'.join(map(str, site.shape))}"
        reason = re.sub(r"\s+", " ", str(failure))[:200]
        raise UserError(
            [Mistake("model", given, f"larger images or another network ({reason})")]
        ) from failure
