"""A report as tables, plain or by rich."""

import itertools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxcnn.check.report import Cell, Cost, Report

KEPT = 6  # residuals shown of each side
NOTE = 80  # characters of a note

Table = list[tuple[str, ...]]  # its first row is the head


def plain(report: "Report") -> str:
    lines = [_title(report)]
    for table in _tables(report):
        widths = [max(map(len, column)) for column in zip(*table)]
        lines += ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in table]
    return "\n".join(lines)


def rich(report: "Report") -> Any:
    from rich import box
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    parts: list[Any] = [Text(_title(report), style="bold green" if report.ok else "bold red")]
    for head, *rows in _tables(report):
        table = RichTable(*head, box=box.SIMPLE_HEAD, pad_edge=False)
        for row in rows:
            table.add_row(*(Text(cell, style="red" if "✗" in cell else "") for cell in row))
        parts.append(table)
    return Group(*parts)


def show(report: "Report") -> None:
    try:
        from rich.console import Console
    except ImportError:
        print(report)
        return
    if sys.stdout.isatty():
        Console().print(report)
    else:
        print(report)


def _title(report: "Report") -> str:
    verdict = f"{report.name}: {'ok' if report.ok else 'WRONG'}"
    if report.fault or not report.no_autodiff:
        return verdict
    return f"{verdict}, by finite differences alone: NO AUTODIFF, {report.no_autodiff[:NOTE]}"


def _tables(report: "Report") -> list[Table]:
    tables = [
        _gradients(report),
        _properties(report),
        _wrong(report),
        _cells(report),
        _smallest(report),
        _costs(report),
    ]
    return [table for table in [*tables, _residuals(report)] if len(table) > 1]


def _gradients(report: "Report") -> Table:
    rows: Table = [("gradient of", "is", "against autodiff", "against differences")]
    for a in report.arguments:
        kind = a.type if a.type == a.gradient_type else f"{a.gradient_type}, not {a.type} ✗"
        rows.append((a.name, kind, str(a.autodiff), str(a.finite)))
    return rows


def _properties(report: "Report") -> Table:
    return [("and", "error"), *((name, str(error)) for name, error in report.properties.items())]


def _wrong(report: "Report") -> Table:
    found = [("the rule", report.fault)] if report.fault else []
    found += [(a.name, diagnosis) for a in report.arguments for diagnosis in a.diagnoses]
    found += report.findings.items()
    return [("wrong", "kind", ""), *((name, diagnosis.kind, diagnosis.detail) for name, diagnosis in found)]


def _cells(report: "Report") -> Table:
    def row(name: str, cell: "Cell") -> tuple[str, ...]:
        index = f"{name}[{', '.join(map(str, cell.index))}]" if cell.index else name
        return (index, *("–" if value is None else f"{value:.6g}" for value in (cell.hand, cell.autodiff, cell.finite)))

    rows = [row(a.name, cell) for a in report.arguments for cell in a.worst_cells]
    return [("worst cells", "by hand", "by autodiff", "by differences"), *rows]


def _smallest(report: "Report") -> Table:
    if report.smallest is None:
        return []
    smallest = report.smallest
    rows = [(name, kind, smallest.values.get(name, "")) for name, kind in smallest.types.items()]
    return [("still wrong at", "", "values"), *rows]


def _costs(report: "Report") -> Table:
    rows: Table = [("cost", "by hand", "by autodiff", "ratio")]
    sides = [report.hand, report.autodiff]
    if report.hand is None:
        return rows
    rows.append(_compare("residuals", [None if cost is None else cost.residual_bytes for cost in sides], "B"))
    for device in report.hand.programs:
        programs = [None if cost is None else cost.programs[device] for cost in sides]
        where = "" if device == "here" else f"{device}: "
        for label, attribute, unit in (
            ("FLOPs", "flops", ""),
            ("bytes accessed", "bytes", "B"),
            ("temporary memory", "temporary_bytes", "B"),
            ("time", "milliseconds", "ms"),
            ("estimated time", "estimated_milliseconds", "ms"),
        ):
            values = [getattr(program, attribute, None) for program in programs]
            if any(value is not None for value in values):
                rows.append(_compare(where + label, values, unit))
        rows += [
            (f"{where}not compiled", program.note[:NOTE], "", "") for program in programs if program and program.note
        ]
    return rows


def _compare(label: str, values: Sequence[float | int | None], unit: str) -> tuple[str, ...]:
    hand, autodiff = values
    amounts = ["–" if v is None else f"{v:.3f} ms" if unit == "ms" else f"{v:,.0f} {unit}".strip() for v in values]
    return (label, *amounts, f"{hand / autodiff:.2f}" if hand is not None and autodiff else "–")


def _residuals(report: "Report") -> Table:
    columns = [_kept(cost) if cost else [] for cost in (report.hand, report.autodiff)]
    return [("kept by hand", "kept by autodiff"), *itertools.zip_longest(*columns, fillvalue="")]


def _kept(cost: "Cost") -> list[str]:
    """The largest first."""
    order = sorted(cost.residuals, key=lambda residual: -residual.bytes)
    lines = [f"{r.source} {r.type}, {r.bytes:,} B" for r in order[:KEPT]]
    rest = order[KEPT:]
    return lines + [f"{len(rest)} more, {sum(r.bytes for r in rest):,} B"] * bool(rest)
