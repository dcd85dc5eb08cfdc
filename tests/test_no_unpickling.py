"""Files are data: nothing in the package turns what it reads into code. Here by its source, call by call."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import cryosphere

SOURCE = Path(cryosphere.__file__).parent

NEVER_IMPORTED = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "yaml"}
NEVER_CALLED = {"eval", "exec", "compile", "__import__"}
NEVER_ASKED_FOR = {"read_pickle", "read_hdf", "to_pickle"}  # of pandas
NEVER_ASKED_FOR |= {f"{verb}_object{rest}" for verb in ("broadcast", "all_gather", "gather") for rest in ("", "_list")}
NUMPY_READERS = {"load", "read_array", "lib.format.read_array", "memmap.load"}
NUMPY = {"np", "numpy"}


def dotted(node: ast.expr) -> str:
    """`np.lib.format.read_array` of such a call's function."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([*([node.id] if isinstance(node, ast.Name) else ["…"]), *reversed(parts)])


def dangers(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            yield from (f"import of {name}" for name in names if name.split(".")[0] in NEVER_IMPORTED)
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        options = {option.arg: ast.unparse(option.value) for option in node.keywords}
        first, _, rest = name.partition(".")
        if name in NEVER_CALLED or name.rpartition(".")[2] in NEVER_ASKED_FOR:
            yield f"call of {name}"
        if first in NUMPY and rest in NUMPY_READERS and options.get("allow_pickle") != "False":
            yield f"{name} without allow_pickle=False"
        if name == "torch.load" and options.get("weights_only") != "True":
            yield "torch.load without weights_only=True"
        if name.rpartition(".")[2] == "YAML" and options.get("typ") != "'safe'":
            yield "YAML that is not safe"


def test_nothing_in_the_package_reads_code_out_of_files() -> None:
    found = {
        str(path.relative_to(SOURCE)): dangerous
        for path in sorted(SOURCE.rglob("*.py"))
        if (dangerous := list(dangers(path.read_text(encoding="utf-8"))))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("import pickle", "pickle"),
        ("from joblib import load", "joblib"),
        ("eval('1')", "eval"),
        ("np.load(path)", "allow_pickle"),
        ("np.load(path, allow_pickle=True)", "allow_pickle"),
        ("np.lib.format.read_array(file)", "allow_pickle"),
        ("torch.load(path)", "weights_only"),
        ("pd.read_pickle(path)", "read_pickle"),
        ("torch.distributed.broadcast_object_list(x)", "broadcast_object_list"),
        ("YAML().load(text)", "YAML"),
    ],
)
def test_it_would_be_noticed(text: str, word: str) -> None:
    [found] = dangers(text)
    assert word in found


@pytest.mark.parametrize(
    "text", ["np.load(path, allow_pickle=False)", "torch.load(p, weights_only=True)", "model.eval()"]
)
def test_what_is_harmless_is_not_told(text: str) -> None:
    assert list(dangers(text)) == []
