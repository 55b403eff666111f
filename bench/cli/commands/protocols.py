"""`latentbench explain`: how much each choice of an evaluation protocol moves a published number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from latentbench.bench.cli.options import Format, FormatOption, emit, err, only_results_on_stdout, out, say
from latentbench.data.errors import LatentbenchError

if TYPE_CHECKING:
    from latentbench.analysis.protocols.explain import Explanation


ZERO_SHOT = "zero_shot"
"""The metric of image–text models, which no protocol describes."""


def add_to(app: typer.Typer) -> None:
    """Make the command part of the command line."""
    app.command("explain")(explain)


ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        metavar="YAML",
        help="The model, as an entry of a suite's models, such as '{family: ae, latent_dim: 16}'.",
    ),
]
DataOption = Annotated[
    str, typer.Option(metavar="DATA", help="The images, such as mnist or 'folder:photos?size=256'.")
]
FeatureOption = Annotated[
    list[str] | None,
    typer.Option(
        "--features",
        metavar="NAME?weights=FILE",
        help="Local weights of a network, such as 'lpips:alex?weights=alexnet.safetensors'; repeatable.",
    ),
]
PickleOption = Annotated[
    bool, typer.Option("--allow-pickle", help="Read tensors from pickled checkpoints of your own.")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]


def explain(
    metric: Annotated[
        str, typer.Argument(metavar="METRIC", help="The metric: psnr, ssim, lpips, rfid or zero_shot.")
    ],
    protocols: Annotated[
        tuple[str, str] | None,
        typer.Option(
            metavar="A B",
            help="Two of: latentbench, va-vae, eq-vae, seed-voken, dc-ae and ifid; not for zero_shot.",
        ),
    ] = None,
    model: ModelOption = "{family: ae, latent_dim: 16}",
    data: DataOption = "mnist",
    features: FeatureOption = None,
    allow_pickle: PickleOption = False,
    device: DeviceOption = "auto",
    output: FormatOption = Format.rich,
) -> None:
    """Show how much each single difference of two evaluation protocols moves a metric.

    The metric is measured under protocol A, under A with each differing choice of B alone, and under B. A
    model of the zoo is trained first, with its family's recipe, unless it is in the cache.

    For zero_shot, the model is one of open_clip, and the factors are file reading, resize filter, precision,
    prompts, spelling of the classes, and averaging; each is changed alone.
    """
    if metric == ZERO_SHOT:
        if protocols is not None or features:
            raise LatentbenchError("--protocols and --features have no effect on zero_shot; leave them out")
        _explain_zero_shot(model, data, device, output, allow_pickle=allow_pickle)
        return
    from latentbench.analysis.features.request import parse_all
    from latentbench.analysis.protocols.explain import explain as explained
    from latentbench.analysis.protocols.explain import requests_of
    from latentbench.analysis.protocols.protocol import METRICS, PROTOCOLS
    from latentbench.bench.cli.progress import reporting
    from latentbench.bench.present.listing import render
    from latentbench.bench.reproduce.subject import open_subject
    from latentbench.data.registry import unknown

    chosen = next((known for known in METRICS if known == metric), None)
    if chosen is None:
        raise unknown("metric of protocols", metric, [*METRICS, ZERO_SHOT])
    if protocols is None:
        raise LatentbenchError(f"{metric}: add --protocols A B, such as --protocols latentbench va-vae")
    a, b = (PROTOCOLS[name] for name in protocols)
    with only_results_on_stdout(), reporting(err, metric) as reporter:
        requests = requests_of((a, b), chosen, parse_all(features or []))
        subject = open_subject(
            model, data, requests, allow_pickle=allow_pickle, device=device, reporter=reporter
        )
        found = explained(a, b, chosen, subject)
    emit(render(_rows(found, protocols), output.value))
    for reason in dict.fromkeys(step.metric.reason for step in found.steps if step.metric.reason):
        say(err, f"no value: {reason}")
    if output is Format.rich:
        for name, protocol in zip(protocols, (a, b), strict=True):
            say(out, f"{name}: sha256 {protocol.sha256[:16]}", "dim")


def _explain_zero_shot(model: str, data: str, device: str, output: Format, *, allow_pickle: bool) -> None:
    from latentbench.analysis.core.devices import find_device
    from latentbench.analysis.prompts.explain_accuracy import explain_accuracy
    from latentbench.bench.cli.progress import reporting
    from latentbench.bench.present.listing import render
    from latentbench.bench.reproduce.zero_shot import open_model
    from latentbench.data.text.yaml_text import parse_yaml
    from latentbench.models.external.open_clip import Pretrained

    entry = parse_yaml(model, "--model")
    if not isinstance(entry, dict) or "pretrained" not in entry:
        raise LatentbenchError(
            f"--model {model!r}: must be a model of open_clip, such as {{family: clip, pretrained: "
            "{model: ViT-B-32, tag: openai}}"
        )
    with only_results_on_stdout(), reporting(err, ZERO_SHOT) as reporter:
        images, loaded = open_model(entry, data, device=device, allow_pickle=allow_pickle, reporter=reporter)
        assert isinstance(loaded, Pretrained)
        found = explain_accuracy(loaded, images, find_device(device))
    rows = [
        {"factor": "as usual", "choice": f"n = {found.n:,}", "accuracy": f"{found.accuracy:.4f}"}
        | {"change": "", "images that differ": ""}
    ]
    rows += [
        {
            "factor": each.factor,
            "choice": each.choice,
            "accuracy": f"{each.accuracy:.4f}",
            "change": f"{each.change:+.4f} ± {each.half_width:.4f}",
            "images that differ": f"{each.different:,}",
        }
        for each in found.effects
    ]
    emit(render(rows, output.value))


def _rows(found: Explanation, names: tuple[str, str]) -> list[dict[str, str]]:
    """Return a row for each protocol, for each difference, and for what they do together."""
    rows = [_row(f"protocol {names[0]}", "", found.first.value, None)]
    rows += [
        _row(step.field, f"{step.a} → {step.b}", step.metric.value, found.change(step.metric))
        for step in found.steps
    ]
    if len(found.steps) > 1:
        rows.append(_row("in combination", "", None, found.together))
    return [*rows, _row(f"protocol {names[1]}", "", found.second.value, found.change(found.second))]


def _row(difference: str, choice: str, value: float | None, change: float | None) -> dict[str, str]:
    return {
        "difference": difference,
        "choice": choice,
        "value": "" if value is None else f"{value:.5g}",
        "change": "" if change is None else f"{change:+.4g}",
    }
