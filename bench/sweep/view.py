"""A sweep as a table: one line per row, grouped by model, and statements about working in latents."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from itertools import groupby

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from latentbench.analysis.core.metric import Metric
from latentbench.analysis.workloads.reference_models import IMAGE, LATENT_NUMBERS
from latentbench.analysis.workloads.sweep_metrics import SWEEP_METRICS
from latentbench.bench.store.records.record import Record
from latentbench.bench.text import escaping, markdown
from latentbench.data.text.numbers import MISSING, duration, significant

HEADINGS = (
    "operation",
    "batch",
    "run as",
    "examples/s",
    "latency",
    "p95",
    "p99",
    "of peak",
    "of bandwidth",
    "GFLOP",
    "held",
    "note",
)
ON_A_TERMINAL = ("operation", "batch", "run as", "examples/s", "latency", "of peak", "of bandwidth")
DEPLOYED = ("AutoencoderKL", "AutoencoderTiny")
LATENTS, PIXELS = "denoiser-block latents", "denoiser-block pixels"


def as_frame(records: Sequence[Record]) -> pd.DataFrame:
    """Return every row with every metric, its standard error if it has one, and the machine's state."""
    return pd.DataFrame([_flat(record) for record in records]).astype({"repetitions": "Int64"})


def _flat(record: Record) -> dict[str, object]:
    assert record.point is not None
    conditions = record.conditions
    rate = record.metric("examples_per_second")
    return {
        "model": record.model.label,
        **record.point.model_dump(),
        "status": record.status,
        "reason": record.reason,
        "marks": "; ".join(record.marks) if conditions else None,
        "repetitions": rate.n if rate else None,
        **{metric.name: metric.value for metric in record.metrics},
        "latency_seconds_se": _se(record, "latency_seconds"),
        "load_average": conditions.load_average if conditions else None,
        "others_share": conditions.others_share if conditions else None,
        "frequency_mhz": conditions.frequency_mhz if conditions else None,
        **{
            f"gpu_{name}": value
            for name, value in (conditions.gpu.model_dump() if conditions and conditions.gpu else {}).items()
        },
    }


def _se(record: Record, name: str) -> float | None:
    metric = record.metric(name)
    return metric.se if metric else None


def as_csv(records: Sequence[Record]) -> str:
    """Return comma-separated values; a field without a number is empty."""
    return escaping.csv(as_frame(records))


def as_json(records: Sequence[Record]) -> str:
    """Return a list of rows, with the reasons of nulls."""
    content = [
        {
            **_flat(record),
            "reasons": {metric.name: metric.reason for metric in record.metrics if metric.reason},
        }
        for record in records
    ]
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def as_markdown(records: Sequence[Record]) -> str:
    """Return a table for a README or a pull request, with its legend."""
    cells = [
        [markdown.text(escaping.printable(each)) for each in (record.model.label, *_cells(record))]
        for record in records
    ]
    legend = [
        f"- `{metric.name}`{', ' * bool(metric.unit)}{metric.unit}: {metric.title}"
        for metric in SWEEP_METRICS
    ]
    table = markdown.table(["model", *HEADINGS], cells, align="lr")
    return "\n".join([table, "", *statements(records), "", *legend]) + "\n"


def as_rich(records: Sequence[Record], *, title: str) -> Group:
    """Print one table per model to a terminal; below it, the reasons why rows have no number."""
    parts: list[RenderableType] = [escaping.plain(title, "bold")]
    for label, group in groupby(records, key=lambda record: record.model.label):
        rows = list(group)
        if timed := [record for record in rows if record.status == "ok"]:
            parts.append(_table(label, timed))
        else:
            parts.append(Text(f"\n{escaping.printable(label)}", style="bold"))
        without = [record for record in rows if record.status != "ok"]
        parts += [
            escaping.plain(f"{record.point.label}: {_note(record)}", "dim")
            for record in without
            if record.point
        ]
    parts += [Text(f"\n{statement}") for statement in statements(records)]
    return Group(*parts)


def _table(label: str, records: Sequence[Record]) -> Table:
    table = Table(
        box=SIMPLE_HEAD,
        header_style="bold",
        pad_edge=False,
        title=escaping.plain(label, "bold"),
        title_justify="left",
    )
    shown = [HEADINGS.index(heading) for heading in ON_A_TERMINAL]
    for heading in ON_A_TERMINAL:
        left = heading in ("operation", "run as")
        table.add_column(heading.replace("of ", "of\n"), justify="left" if left else "right", no_wrap=True)
    for record in records:
        cells = _cells(record)
        doubt = " †" if record.marks else ""
        table.add_row(cells[0] + doubt, *(escaping.plain(cells[position]) for position in shown[1:]))
    return table


def _cells(record: Record) -> list[str]:
    assert record.point is not None
    return [
        record.point.operation.replace("_", " "),
        str(record.point.batch),
        record.point.way,
        _shown(record, "examples_per_second", significant),
        *(_shown(record, f"latency{which}_seconds", duration) for which in ("", "_p95", "_p99")),
        *(_shown(record, name, "{:.1%}".format) for name in ("share_of_peak", "share_of_bandwidth")),
        _shown(record, "flops_per_example", lambda flops: significant(flops / 1e9)),
        _shown(record, "held_bytes", lambda size: f"{significant(size / 1e6)} MB"),
        _note(record),
    ]


def _shown(record: Record, name: str, form: Callable[[float], str]) -> str:
    value = _value(record, name)
    return MISSING if value is None else form(value)


def _value(record: Record, name: str) -> float | None:
    metric: Metric | None = record.metric(name)
    return metric.value if metric else None


def _note(record: Record) -> str:
    """Return why there is no number, or what makes it doubtful."""
    if record.status != "ok":
        return f"{record.status.replace('_', ' ')}: {record.reason}"
    return "; ".join(record.marks)


def footnote(records: Sequence[Record]) -> str:
    """Return the legend of the table, and the code and machine that measured it."""
    record = records[0]
    marked = [each for each in records if each.marks]
    doubt = (
        f"†: other work disturbed the timing of {len(marked)} rows, for example: {marked[0].marks[0]}\n"
        if marked
        else ""
    )
    commit = f"commit {record.code.commit[:8]}" if record.code.commit else f"source {record.code.source}"
    return (
        f"{doubt}of peak, of bandwidth: over the device's own large matrix product or convolution, and copy; "
        f"all columns with --format csv\n"
        f"latentbench {record.code.version}, {commit}, environment {record.environment}"
    )


def statements(records: Sequence[Record]) -> list[str]:
    """Return the costs and savings of working in latents: one line for each deployed autoencoder timed.

    A denoiser's block is timed on as many positions as the image has and as the latents have. Decoding is
    needed once per image, a block many times at every sampling step.
    """
    latents, pixels = (_seconds_of_one(records, label, "denoise") for label in (LATENTS, PIXELS))
    lines = []
    for label in dict.fromkeys(record.model.label for record in records):
        decode = _seconds_of_one(records, label, "decode")
        if label not in DEPLOYED or decode is None:
            continue
        ratio = math.prod(IMAGE) / LATENT_NUMBERS
        line = f"{label}: the latents are {ratio:.0f} times smaller than the image."
        if latents is not None and pixels is not None and pixels > latents:
            line += (
                f" A block of a denoiser takes {duration(latents)} on them and {duration(pixels)} on the "
                f"pixels, {pixels / latents:.0f} times as long. Decoding takes {duration(decode)}, as much "
                f"as {decode / pixels:.1f} blocks in pixels, and is paid once an image: after "
                f"{decode / (pixels - latents):.1f} blocks working in latents is the cheaper way."
            )
        lines.append(line)
    return lines


def _seconds_of_one(records: Sequence[Record], label: str, operation: str) -> float | None:
    """Return the seconds of one example in float32, uncompiled, at a batch of one; None if not timed."""
    for record in records:
        point = record.point
        if (
            point
            and record.model.label == label
            and (point.operation, point.batch, point.way) == (operation, 1, "fp32")
        ):
            return _value(record, "latency_seconds")
    return None


def title(suite: str, records: Sequence[Record]) -> str:
    """Return the title of the table."""
    models = len({record.model.label for record in records})
    return f"{suite}: {models} models at {len(records)} points, noise as input"
