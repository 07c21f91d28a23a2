"""What the benchmarks share: the command line, the progress bar, and results as Markdown, JSON and a chart."""

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
from measure import PEERS, Effort, geometric_mean, installed, machine
from tqdm import tqdm

QUICK = Effort(blocks=3, least=0.005, most=1.0)

Result = dict[str, Any]


class Table(NamedTuple):
    """What is measured of a workload, and how to tell: its cells, its ratios for the chart, what misses a target."""

    header: Sequence[str]
    legend: Sequence[str]
    measure: Callable[[Any, Effort], Result]
    cells: Callable[[Result], Sequence[str]]
    ratios: Callable[[Result], dict[str, float]]
    misses: Callable[[Result], Iterable[str]]
    means: Mapping[str, float] = MappingProxyType({})  # what the geometric mean of a ratio should be at most
    peers: Sequence[str] = PEERS  # what is timed beside it, where installed


def parser(description: str, *, timed: bool = True) -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=description, formatter_class=form, allow_abbrev=False)
    pattern = lambda text: re.compile(text, re.IGNORECASE)
    parser.add_argument("--only", type=pattern, metavar="PATTERN", help="rows in whose kind or name this expression is")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number there")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write what is printed there too")
    parser.add_argument("--chart", type=Path, metavar="FILE", help="draw the ratios there, as PNG")
    parser.set_defaults(quick=False)
    if timed:
        parser.add_argument("--quick", action="store_true", help="few short blocks, for a first look")
    return parser


def run(table: Table, workloads: Iterable[Any], options: argparse.Namespace) -> None:
    """Measures the workloads that are asked for, prints as it goes, and writes files in the end."""
    lines, results, facts = [], [], machine()
    chosen = [w for w in workloads if not options.only or options.only.search(f"{w.kind}: {w.name}")]
    if not chosen:
        raise SystemExit(f"no row has {options.only.pattern!r} in its kind or name")

    def say(*more: str) -> None:
        for line in more:
            tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()
        lines.extend(more)

    say(", ".join(f"{name} {value}" for name, value in facts.items()), "")
    for peer in table.peers:
        if not installed(peer):
            say(f"{peer} is not installed, and left out.", "")
    say(_row(table.header), _row(["---"] * len(table.header)))
    with tqdm(chosen, unit="row", disable=None) as progress:
        for workload in progress:
            progress.set_description(workload.name)
            measured = table.measure(workload, QUICK if options.quick else Effort())
            results.append({"name": workload.name, "kind": workload.kind, **measured})
            say(_row([workload.name, *table.cells(results[-1])]))
            jax.clear_caches()
    say("", *table.legend, "")
    say(*_means(results, table), "")
    missed = [f"- {result['name']}: {miss}" for result in results for miss in table.misses(result)]
    say("Missed:" if missed else "Every row meets its targets.", *missed)

    if options.json:
        options.json.write_text(json.dumps({"machine": facts, "results": results}, indent=2) + "\n")
    if options.markdown:
        options.markdown.write_text("\n".join(lines) + "\n")
    if options.chart:
        _draw({result["name"]: table.ratios(result) for result in results}, options.chart)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _means(results: list[Result], table: Table) -> list[str]:
    """A table of geometric means: of each kind of workload if there are several, and of all."""
    every = [table.ratios(result) for result in results]
    groups: dict[str, list[dict[str, float]]] = {}
    for result, ratios in zip(results, every):
        groups.setdefault(result["kind"], []).append(ratios)
    groups = groups if len(groups) > 1 else {}
    labels = _labels(every)
    lines = [_row(("geometric mean", "rows", *labels)), _row(["---"] * (2 + len(labels)))]
    for kind, members in {**groups, "all": every}.items():
        columns = [[ratios[label] for ratios in members if label in ratios] for label in labels]
        lines.append(_row((kind, str(len(members)), *(f"{geometric_mean(c):.2f}" if c else "" for c in columns))))
    if table.means:
        lines.append(_row(("wanted of all, at most", "", *(str(table.means.get(label, "")) for label in labels))))
    return lines


def _labels(every: Iterable[dict[str, float]]) -> list[str]:
    return list(dict.fromkeys(label for ratios in every for label in ratios))


def _draw(bars: dict[str, dict[str, float]], path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    labels = _labels(bars.values())
    height = 1 / (1 + len(labels))
    figure = Figure(figsize=(10, 1.5 + 0.1 * len(bars) / height), layout="constrained")
    axes = figure.subplots()
    for i, label in enumerate(labels):
        at = {row + i * height: ratios[label] for row, ratios in enumerate(bars.values()) if label in ratios}
        axes.barh(list(at), [ratio - 1 for ratio in at.values()], height, left=1, label=label)
    axes.axvline(1, color="black", linewidth=0.8)
    label = "by hand over each: left of 1 the hand rules are better"
    axes.set(xscale="log", xlabel=label, ylim=(len(bars), -0.5))
    axes.xaxis.set(major_locator=LogLocator(subs=(1, 2, 5)), major_formatter="{x:g}")
    axes.minorticks_off()
    axes.set_yticks([row + (len(labels) - 1) * height / 2 for row in range(len(bars))], list(bars), fontsize=7)
    axes.grid(axis="x", alpha=0.3)
    axes.legend()
    figure.savefig(path, format="png", dpi=120)
