"""`python -m jaxcnn.check [name or pattern ...]`: checks the library's own rules and shows a report for each."""

import argparse
import contextlib
import difflib
import fnmatch
import os
import re
import sys
from pathlib import Path
from typing import NoReturn

from jaxcnn.check.report import Report
from jaxcnn.check.rows import DTYPES, SIZE, SMALLEST, check_row, rows

PROGRAM = "python -m jaxcnn.check"


def find(wanted: str, names: list[str]) -> list[str]:
    """Rows whose name or op fits a pattern; else those of the op of this name, else those that begin so."""
    if set(wanted) & set("*?["):
        return [name for name in names if any(fnmatch.fnmatchcase(part, wanted) for part in (name, name.split(",")[0]))]
    of_op = [name for name in names if wanted in (name, name.split(",")[0])]
    return of_op or [name for name in names if name.startswith(wanted)]


def main(argv: list[str] | None = None) -> int:
    """0 where all is right, 1 where a rule is wrong; a mistake in the command line exits with 2."""
    parser = _parser()
    options = parser.parse_args(argv)
    cases = rows(options.size)
    found = {wanted: find(wanted, list(cases)) for wanted in options.ops}
    if unknown := [wanted for wanted, names in found.items() if not names]:
        parser.error("; ".join(_suggest(name, list(cases)) for name in unknown))
    if options.out is not None:
        with _telling(parser, options.out):
            options.out.mkdir(parents=True, exist_ok=True)
    chosen = {name for names in found.values() for name in names} or set(cases)
    reports = []
    for name in (name for name in cases if name in chosen):
        reports.append(check_row(name, cases[name], options.dtype))
        if not options.json:
            reports[-1].show()
            print(flush=True)
        if options.out is not None:
            with _telling(parser, options.out):
                _write(reports[-1], options.out)
    if options.json:
        print("[" + ",\n".join(report.to_json() for report in reports) + "]")
    right = sum(report.ok for report in reports)
    print(f"{right} of {len(reports)} rules are right", file=sys.stderr if options.json else sys.stdout)
    return 0 if right == len(reports) else 1


def run() -> int:
    """main, and where its output cannot be written, one line that says so."""
    try:
        code = main()
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever reads has seen enough
        code = 141
    except OSError as failure:
        print(f"{PROGRAM}: error: cannot write the output: {failure.strerror or failure}", file=sys.stderr)
        code = 2
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """In one line."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def _suggest(unknown: str, names: list[str]) -> str:
    ops = list(dict.fromkeys(name.split(",")[0] for name in names))
    if near := difflib.get_close_matches(unknown, ops, cutoff=0.5):
        return f"no op called {unknown!r}; did you mean {' or '.join(map(repr, near))}?"
    return f"no op called {unknown!r}; there are {', '.join(map(repr, ops))}"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=PROGRAM, description=__doc__)
    parser.add_argument(
        "ops",
        nargs="*",
        type=_name,
        metavar="NAME",
        help="an op, the beginning of a name, or a pattern such as '*pool*' (default: all)",
    )
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="default: %(default)s")
    parser.add_argument("--size", type=_size, default=SIZE, help="rows of the images (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print a JSON array of the reports and nothing else")
    parser.add_argument("--out", type=Path, metavar="DIR", help="also write a JSON file and a picture for each row")
    return parser


def _name(text: str) -> str:
    if not text.strip():
        raise argparse.ArgumentTypeError(f"expects a name or pattern, got {text!r}")
    return text


def _size(text: str) -> int:
    if not text.isdecimal() or int(text) < SMALLEST:
        raise argparse.ArgumentTypeError(f"expects an int of at least {SMALLEST}, got {text}")
    return int(text)


def _write(report: Report, folder: Path) -> None:
    stem = re.sub(r"\W+", "-", report.name)
    unfinished = folder / f".{stem}.json.part"
    unfinished.write_text(report.to_json() + "\n")
    unfinished.replace(folder / f"{stem}.json")
    if report.fault is None:
        report.draw(folder / f"{stem}.png")


@contextlib.contextmanager
def _telling(parser: argparse.ArgumentParser, folder: Path):
    """What cannot be written, as one line."""
    try:
        yield
    except ImportError as missing:
        parser.error(str(missing))
    except OSError as failure:
        parser.error(f"argument --out: {folder}: {failure.strerror or failure}")


if __name__ == "__main__":
    sys.exit(run())
