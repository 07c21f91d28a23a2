"""Programs compiled for accelerators that the machine does not have, and what their compilers say of them."""

import math
import os
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies
from jaxlib import _jax

PLATFORMS = ("tpu", "cuda")
H100 = Path(__file__).parent / "h100_target_config.txt"
ALONE = {  # what libtpu would ask the machine, and the CUDA plugin the driver
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "JAX_SKIP_CUDA_CONSTRAINTS_CHECK": "1",
}
OPTIONS = {"tpu": {}, "cuda": {"xla_gpu_autotune_level": 0}}  # tuning would run kernels

INSTRUCTION = re.compile(r"^ *(?:ROOT )?%?(\S+) = (.*?) ([a-z][\w\-]*)\(([^)]*)\)", re.M)
ARRAY = re.compile(r"([a-z]+)(\d*)[a-z0-9]*\[([\d,]*)\](?:\{([\d,]*))?")


class Program(NamedTuple):
    """What a compiler says of a program: its cost model's seconds (a TPU's only), bytes, and what is in it."""

    seconds: float | None
    flops: float
    bytes: float
    temporary_bytes: int
    transposed_bytes: int
    calls: Counter
    scatters: int
    compile_seconds: float
    text: str


def devices(platform: str) -> list[jax.Device]:
    """Of a TPU v5e with four chips, or an H100."""
    jax.config.update("jax_platforms", "cpu")
    os.environ.update(ALONE)
    if platform == "tpu":
        return topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices
    described = {"topology_name": "h100", "topology": "1x1x1", "target_config": H100.read_text()}
    return topologies.get_topology_desc(platform="cuda", **described).devices


def compile_for(device: jax.Device, function: Callable, *args: Any, **options: Any) -> Program:
    """The function of arguments like these, with `options` of `jax.jit`, compiled for this device."""
    place = jax.sharding.SingleDeviceSharding(device)
    args = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place), args)
    start = time.perf_counter()
    lowered = jax.jit(function, **options).lower(*args)
    program = lowered.compile(compiler_options=OPTIONS["tpu" if device.platform == "tpu" else "cuda"])
    seconds = time.perf_counter() - start
    text = program.as_text()
    instructions = [match.groups() for match in INSTRUCTION.finditer(text)]
    results = {name: result for name, result, *_ in instructions}
    costs = program.cost_analysis() or _gpu_costs(lowered, program, instructions, results)
    return Program(
        costs["optimal_seconds"] % 1 if "optimal_seconds" in costs else None,  # −1 for each call that it does not know
        costs.get("flops", 0.0),
        costs["bytes accessed"],
        program.memory_analysis().temp_size_in_bytes,
        sum(_size(result) for _, result, op, of in instructions if _transposes(op, result, results.get(of.strip("%")))),
        Counter(re.findall(r'custom_call_target="(__[^"]*)"', text)),
        sum(op in ("scatter", "select-and-scatter") for _, _, op, _ in instructions),
        seconds,
        text,
    )


def _gpu_costs(lowered, program, instructions, results) -> dict[str, Any]:
    """XLA's cost analysis of the program as it was lowered, for the FLOPs, and as it was optimised, for the bytes.

    A call of a library counts as nothing there: its bytes are those of its operands and results.
    """
    analyse = lambda module: _jax.hlo_module_cost_analysis(jax.devices("cpu")[0].client, module)
    (optimised,) = program.runtime_executable().hlo_modules()
    called = sum(
        _size(result) + sum(_size(results[name.strip(" %")]) for name in of.split(","))
        for _, result, op, of in instructions
        if op == "custom-call"
    )
    flops = analyse(lowered.compiler_ir("hlo").as_hlo_module()).get("flops", 0.0)
    return {"flops": flops, "bytes accessed": analyse(optimised)["bytes accessed"] + called}


def _size(shape: str) -> int:
    """Bytes of an array or tuple as HLO writes its shape."""
    arrays = ((kind, bits, [int(n) for n in dims.split(",") if n]) for kind, bits, dims, _ in ARRAY.findall(shape))
    return sum(math.prod(dims) * (int(bits or 8) + 7) // 8 for kind, bits, dims in arrays)


def _transposes(op: str, result: str, operand: str | None) -> bool:
    """Whether an instruction moves an array to another layout."""
    order = lambda shape: ARRAY.search(shape)[4]
    return op == "transpose" or (op == "copy" and operand is not None and order(result) != order(operand))
