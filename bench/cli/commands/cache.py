"""`latentbench cache`: what the cache holds, how large it is, and how to make room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from latentbench.bench.cli.options import Format, FormatOption, emit, out, say
from latentbench.data.text.numbers import file_size

if TYPE_CHECKING:
    from latentbench.data.storage.cache import CacheEntry

cache = typer.Typer(
    help="List, measure and prune what latentbench can make again: decoded images, models, judges.",
    no_args_is_help=True,
)

KindOption = Annotated[
    str | None, typer.Option("--kind", metavar="KIND", help="Only this kind, such as images or checkpoints.")
]


def add_to(app: typer.Typer) -> None:
    """Make the commands part of the command line."""
    app.add_typer(cache, name="cache")


@cache.command("list")
def list_(kind: KindOption = None, output: FormatOption = Format.rich) -> None:
    """List what is in the cache, the largest first."""
    from latentbench.bench.present.listing import render

    found = sorted(_entries(kind), key=lambda entry: -entry.size_bytes)
    rows = [
        {
            "kind": entry.kind,
            "name": entry.name,
            "size": file_size(entry.size_bytes),
            "unused for": f"{entry.unused_days:.0f} days",
            "what": entry.what,
        }
        for entry in found
    ]
    if not rows:
        _say_nothing()
        return
    emit(render(rows, output.value))


@cache.command()
def size(output: FormatOption = Format.rich) -> None:
    """Show how large the cache is, by kind."""
    from latentbench.bench.present.listing import render

    totals: dict[str, list[int]] = {}
    for entry in _entries(None):
        totals.setdefault(entry.kind, []).append(entry.size_bytes)
    if not totals:
        _say_nothing()
        return
    totals["all"] = [size for sizes in totals.values() for size in sizes]
    rows = [
        {"kind": kind, "entries": f"{len(sizes):,}", "size": file_size(sum(sizes))}
        for kind, sizes in totals.items()
    ]
    emit(render(rows, output.value))


@cache.command()
def prune(
    kind: Annotated[
        str | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="What to remove, or `all`; default: decoded images and leftovers of killed runs.",
        ),
    ] = None,
    unused_days: Annotated[
        float,
        typer.Option(
            "--unused-days", metavar="DAYS", min=0, help="Keep what was used in the last DAYS days."
        ),
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be removed.")] = False,
) -> None:
    """Remove decoded images, or another kind. A later run makes what it needs again."""
    from latentbench.data.storage.cache import remove

    found = _entries(None if kind == "all" else kind)
    if kind is None:
        found = [entry for entry in found if entry.kind in ("images", "temporary")]
    chosen = [entry for entry in found if entry.unused_days >= unused_days]
    for entry in chosen:
        if not dry_run:
            remove(entry)
    word = "would remove" if dry_run else "removed"
    total = file_size(sum(entry.size_bytes for entry in chosen))
    say(out, f"{word} {len(chosen):,} entries, {total}")


def _entries(kind: str | None) -> list[CacheEntry]:
    """The entries of one kind, or all. Raises LatentbenchError for a kind that is not there."""
    from latentbench.data.registry import unknown
    from latentbench.data.storage.cache import entries

    found = entries()
    kinds = sorted({entry.kind for entry in found} | {"images", "checkpoints", "temporary"})
    if kind is not None and kind not in kinds:
        raise unknown("kind of cached files", kind, kinds)
    return [entry for entry in found if kind in (None, entry.kind)]


def _say_nothing() -> None:
    from latentbench.data.storage.cache import cache_root

    say(out, f"{cache_root()}: the cache is empty")
