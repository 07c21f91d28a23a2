"""One op at a time, the hand rule beside autodiff: formula, source, the program that autodiff makes, errors, cost.

    python examples/compare_rules.py max_pool                 on the terminal
    python examples/compare_rules.py max_pool relu --out x    as pages x/max_pool.html and x/relu.html
    python examples/compare_rules.py --list                   what there is to compare

Everything is computed when you ask: the formula is the op's docstring, the rule its source, the program a jaxpr.
"""

import argparse
import html
import inspect
import re
import string
from pathlib import Path

import jax
import jax.numpy as jnp

import jaxcnn
from jaxcnn.algorithms import native
from jaxcnn.check import rows as own

SIZE = 5  # rows of the images: what can be read is small
MAPS = ("forward", "input_gradient", "kernel_gradient")

PAGE = string.Template("""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem }
pre { background: #f6f6f4; padding: 1rem; overflow-x: auto; font-size: 13px; line-height: 1.4 }
</style>
<h1>$title</h1>
$sections
</html>
""")
SECTION = string.Template("<h2>$head</h2>\n<pre>$body</pre>\n")


def sections(name, row):
    """What to say of a row of the library's own checks: (head, text) pairs."""
    op = getattr(jaxcnn, name.split(",")[0])
    _, twin, args = own.call(name, row, "float32")
    shapes = ", ".join(f"{x.dtype}{list(x.shape)}" for x in args)
    return [
        ("Formula", inspect.getdoc(op).split("\nArgs:")[0].rstrip()),
        ("The rule, by hand, and what it calls", "\n\n".join(source_of(rule) for rule in rules_of(op))),
        (f"The program that autodiff makes, for {shapes}", str(backward_program(twin, args))),
        ("Errors, what is kept, and what it costs", str(own.check_row(name, row))),
    ]


def rules_of(function, seen=()):
    """Every `jax.custom_vjp` that a function of the library calls, also through other functions of its file."""
    function = inspect.unwrap(function)
    around = vars(inspect.getmodule(function))
    called = [around[name] for name in function.__code__.co_names if name in around and name not in seen]
    rules = [value for value in called if isinstance(value, jax.custom_vjp)]
    for value in called:
        if inspect.isfunction(value) and value.__module__ == function.__module__:
            rules += rules_of(value, (*seen, function.__name__))
    return list(dict.fromkeys(rules))


def source_of(rule):
    """Forward and backward, and the library's functions that stand in them; the maps of a convolution as lax's own."""
    parts = [inspect.unwrap(part) for part in (rule.fwd, rule.bwd)]
    around = [(vars(inspect.getmodule(part)), part.__code__.co_names) for part in parts]
    called = [inspect.unwrap(module[name]) for module, names in around for name in names if callable(module.get(name))]
    called += [vars(native)[name] for _, names in around if "algorithms" in names for name in names if name in MAPS]
    ours = [f for f in called if inspect.isfunction(f) and f.__module__.startswith("jaxcnn")]
    return "\n\n".join(inspect.getsource(part).rstrip() for part in dict.fromkeys([*parts, *ours]))


def backward_program(fn, args):
    """The jaxpr of (cotangents, *floats) -> gradients by autodiff."""
    where = [i for i, x in enumerate(args) if jnp.issubdtype(x.dtype, jnp.floating)]

    def on_floats(*floats):
        filled = list(args)
        for i, x in zip(where, floats):
            filled[i] = x
        return [y for y in jax.tree.leaves(fn(*filled)) if jnp.issubdtype(y.dtype, jnp.floating)]

    floats = [args[i] for i in where]
    dy = [jnp.ones(y.shape, y.dtype) for y in jax.eval_shape(on_floats, *floats)]
    return jax.make_jaxpr(lambda dy, *floats: jax.vjp(on_floats, *floats)[1](dy))(dy, *floats)


def as_text(name, parts):
    return "\n\n".join([f"==== {name}", *(f"-- {head}\n\n{body}" for head, body in parts)])


def as_html(name, parts):
    escaped = [SECTION.substitute(head=html.escape(head), body=html.escape(body)) for head, body in parts]
    return PAGE.substitute(title=html.escape(name), sections="".join(escaped))


def main(argv=None):
    rows = own.rows(SIZE)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="an op; --list names them")
    parser.add_argument("--list", action="store_true", help="list what there is and stop")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write a page of HTML for each, in place of text")
    options = parser.parse_args(argv)
    if options.out is not None and options.out.exists() and not options.out.is_dir():
        parser.error(f"--out expects a directory, got the file {options.out}")
    if options.list:
        print("\n".join(rows))
        return
    if not options.names:
        parser.error("NAME expects at least one op, got none; --list names them")
    if unknown := [name for name in options.names if name not in rows]:
        parser.error(f"no op called {', '.join(unknown)}; --list names those that there are")
    for name in options.names:
        parts = sections(name, rows[name])
        if options.out is None:
            print(as_text(name, parts), end="\n\n")
        else:
            options.out.mkdir(parents=True, exist_ok=True)
            path = options.out / (re.sub(r"\W+", "-", name) + ".html")
            path.write_text(as_html(name, parts), encoding="utf-8")
            print(path)


if __name__ == "__main__":
    main()
