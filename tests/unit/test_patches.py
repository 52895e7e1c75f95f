"""Private parts of libraries are where `stages/engines/patches.py` takes them to be, and have the form that it needs.

Each function there has a test with its name, here or, for vLLM, whose import takes long, in
tests/engines/test_vllm_patches.py. A test that fails says that its patch needs another look.
"""

import ast
import importlib.util
import inspect
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from stages.engines import patches
from stages.modeling import patches as of_models
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.slow  # imports every engine

NAMES = [
    f"{module.__name__}.{name}"
    for module in (patches, of_models)
    for name, value in vars(module).items()
    if inspect.isfunction(value) and value.__module__ == module.__name__
]
TEST_FILES = ("tests/unit/test_patches.py", "tests/engines/test_vllm_patches.py")
PARTS = ("Changes:", "Reason:", "Versions:", "Remove when:")


@pytest.mark.parametrize("name", NAMES)
def test_every_patch_says_why_and_has_a_test(name):
    module, _, name = name.rpartition(".")
    text = inspect.getdoc(getattr(sys.modules[module], name))
    assert [part for part in PARTS if part not in text] == []
    assert any(f"\ndef test_{name}(" in (REPOSITORY / file).read_text(encoding="utf-8") for file in TEST_FILES)


def test_no_private_part_is_used_elsewhere():
    """`library._private` in stages/ stands in patches.py; `self._x`, named tuples and Python itself do not count."""
    found = []
    allowed = {("sys", "_current_frames"), ("os", "_exit")}
    public = {"_replace", "_asdict", "_fields"}  # of named tuples
    for path in sorted((REPOSITORY / "stages").rglob("*.py")):
        if path.name in ("patches.py", "harness.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("stages"):
                private = [alias.name for alias in node.names if re.match(r"_[a-z]", alias.name)]
                found += [f"{path.relative_to(REPOSITORY)}:{node.lineno} import {name}" for name in private]
            if not isinstance(node, ast.Attribute) or not re.match(r"_[a-zA-Z]", node.attr) or node.attr in public:
                continue
            owner = ast.unparse(node.value)
            if owner not in ("self", "cls") and (owner, node.attr) not in allowed:
                found.append(f"{path.relative_to(REPOSITORY)}:{node.lineno} {owner}.{node.attr}")
    assert found == []


def imported_from_libraries(tree: ast.AST) -> set[str]:
    """Names that stand for a library, or for something of one, anywhere in a file."""
    ours = {"stages", "tests", *sys.stdlib_module_names}
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                (alias.asname or alias.name).split(".")[0]
                for alias in node.names
                if alias.name.split(".")[0] not in ours
            }
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] not in ours:
            names |= {alias.asname or alias.name for alias in node.names}
    return names


def root_of(node: ast.AST) -> str:
    """The name at the start of a.b["c"].d; empty where there is none."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def test_no_library_is_changed_elsewhere():
    """`library.something = ...` and `library.table[...] = ...` in stages/ stand in patches.py."""
    found = []
    for path in sorted((REPOSITORY / "stages").rglob("*.py")):
        if path.name == "patches.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = imported_from_libraries(tree)
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, (ast.Assign, ast.Delete)) else [getattr(node, "target", None)]
            for target in targets:
                if isinstance(target, (ast.Attribute, ast.Subscript)) and root_of(target) in names:
                    found.append(f"{path.relative_to(REPOSITORY)}:{node.lineno} {ast.unparse(target)}")
    assert found == []


def test_without_shared_memory_collectives(monkeypatch):
    import deepspeed
    from deepspeed.comm.torch import build_shm_op
    from deepspeed.ops.op_builder.cpu import ShareMemCommBuilder

    assert ShareMemCommBuilder.NAME == "deepspeed_shm_comm"
    assert "deepspeed.ops.__compatible_ops__.get(builder.NAME" in inspect.getsource(build_shm_op)
    monkeypatch.setattr(deepspeed.ops, "__compatible_ops__", {"deepspeed_shm_comm": True, "cpu_adam": True})
    patches.without_shared_memory_collectives()
    assert deepspeed.ops.__compatible_ops__ == {"deepspeed_shm_comm": False, "cpu_adam": True}


def test_set_default_timeout(monkeypatch):
    from torch.distributed import distributed_c10d

    for name in ("default_pg_timeout", "default_pg_nccl_timeout"):
        assert isinstance(getattr(distributed_c10d, name), timedelta | None)
        monkeypatch.setattr(distributed_c10d, name, getattr(distributed_c10d, name))
    patches.set_default_timeout(timedelta(seconds=7))
    for backend in ("gloo", "nccl"):
        assert distributed_c10d._get_default_timeout(backend) == timedelta(seconds=7)


def test_gloo_group():
    """Two members beside the default group, which need not be there, speak from an address of this machine."""
    import torch.distributed as dist

    timeout = timedelta(seconds=20)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, timeout=timeout, wait_for_workers=False)

    def join(rank: int) -> torch.Tensor:
        own = store if rank == 0 else dist.TCPStore("127.0.0.1", store.port, is_master=False, timeout=timeout)
        group = patches.gloo_group(dist.PrefixStore("test", own), rank, 2, timeout, "127.0.0.1")
        tensor = torch.full((3,), float(rank == 0))
        group.broadcast([tensor], dist.BroadcastOptions()).wait()
        return tensor

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(join, range(2))
    assert first.tolist() == second.tolist() == [1.0, 1.0, 1.0]


def test_skip_allreduce():
    from deepspeed import DeepSpeedEngine

    assert "self.enable_backward_allreduce = True" in inspect.getsource(DeepSpeedEngine.__init__)
    assert "elif self.enable_backward_allreduce and" in inspect.getsource(DeepSpeedEngine.step)
    engine = SimpleNamespace(enable_backward_allreduce=True)
    patches.skip_allreduce(engine)
    assert engine.enable_backward_allreduce is False


def test_collect_parts():
    from deepspeed import DeepSpeedEngine
    from deepspeed.runtime.checkpoint_engine import TorchCheckpointEngine, create_checkpoint_engine
    from deepspeed.runtime.checkpoint_engine.checkpoint_engine import CheckpointEngine

    assert issubclass(TorchCheckpointEngine, CheckpointEngine)
    assert list(inspect.signature(CheckpointEngine.save).parameters) == ["self", "state_dict", "path"]
    assert "return TorchCheckpointEngine(" in inspect.getsource(create_checkpoint_engine)
    for method in (DeepSpeedEngine._save_zero_checkpoint, DeepSpeedEngine._save_checkpoint):
        assert "self.checkpoint_engine.save(" in inspect.getsource(method)
    engine = SimpleNamespace()
    parts = patches.collect_parts(engine)
    engine.checkpoint_engine.save({"a": 1}, "somewhere/model.pt")
    engine.checkpoint_engine.save(path="optimizer.pt", state_dict={})
    assert parts == [(Path("somewhere/model.pt"), {"a": 1}), (Path("optimizer.pt"), {})]


def test_reading_universal_checkpoint():
    from deepspeed import DeepSpeedEngine

    assert "return self._config.load_universal_checkpoint" in inspect.getsource(
        DeepSpeedEngine.load_universal_checkpoint
    )
    engine = SimpleNamespace(_config=SimpleNamespace(load_universal_checkpoint=False))
    with patches.reading_universal_checkpoint(engine, is_universal=True):
        assert engine._config.load_universal_checkpoint is True
    assert engine._config.load_universal_checkpoint is False


def test_num_elements():
    from deepspeed.runtime.zero import partition_parameters

    assert "param.ds_numel = param.numel()" in inspect.getsource(partition_parameters)
    parameter = torch.nn.Parameter(torch.zeros(2, 3))
    assert patches.num_elements(parameter) == 6
    parameter.ds_numel = 12
    assert patches.num_elements(parameter) == 12


def test_parse_latex_in_two_stages(monkeypatch):
    from antlr4 import Parser
    from antlr4.atn.ParserATNSimulator import ParserATNSimulator
    from latex2sympy2_extended import latex2sympy2

    assert "self.predictionMode = " in inspect.getsource(ParserATNSimulator.__init__)
    assert issubclass(latex2sympy2.PSParser, Parser)
    assert "_Latex2Sympy(" in inspect.getsource(latex2sympy2.latex2sympy)
    monkeypatch.setattr(latex2sympy2, "_Latex2Sympy", latex2sympy2._Latex2Sympy)
    patches.parse_latex_in_two_stages()
    assert str(latex2sympy2.latex2sympy(r"\frac{1}{2} \cdot x")) == "x/2"
    assert {"create_parser", "parse"} <= set(vars(latex2sympy2._Latex2Sympy.__mro__[1]))


def test_deepspeed_reads_the_norm_from_our_optimizer():
    """`ReplicatedOptimizer._global_grad_norm`."""
    from deepspeed import DeepSpeedEngine

    assert "self._global_grad_norm = self.optimizer._global_grad_norm" in inspect.getsource(DeepSpeedEngine)


def test_collectives_are_in_the_file_that_heartbeats_look_for():
    from stages.runtime.heartbeat import COLLECTIVES

    assert inspect.getsourcefile(torch.distributed.all_reduce.__wrapped__).endswith(COLLECTIVES)


def test_torch_is_hidden_from_cuda_builds_of_its_relatives():
    """`stages/__init__.py`: an entry of None in sys.modules still means "not installed" to importlib."""
    sys.modules["no_such_library_of_ours"] = None
    try:
        with pytest.raises(ImportError):
            __import__("no_such_library_of_ours")
        assert importlib.util.find_spec("no_such_library_of_ours") is None
    finally:
        del sys.modules["no_such_library_of_ours"]


def test_dividing_what_is_read():
    """Both libraries have what is called and replaced; tests/engines/test_families_in_engines.py runs it."""
    from deepspeed.runtime.zero import Init
    from transformers import core_model_loading

    assert list(inspect.signature(core_model_loading.set_param_for_module).parameters)[:2] == ["model", "target_name"]
    assert "set_param_for_module(" in inspect.getsource(core_model_loading.convert_and_load_state_dict_in_model)
    assert '"HF_DEACTIVATE_ASYNC_LOAD"' in inspect.getsource(core_model_loading.convert_and_load_state_dict_in_model)
    assert list(inspect.signature(Init._convert_to_zero_parameters).parameters) == ["self", "param_list"]
    assert list(inspect.signature(Init._enable_mem_efficient_linear).parameters) == ["self"]


def test_forget_engine():
    """DeepSpeed still keeps what it finds; tests/engines/test_lora.py fails where a function of a gone engine stays."""
    from deepspeed.runtime.zero import parameter_offload

    source = inspect.getsource(parameter_offload.DeepSpeedZeRoOffload)
    for name in of_models.LEFT_BY_AN_ENGINE:
        assert f'"{name}"' in source and f"module.{name} = " in source
    module = torch.nn.Sequential(torch.nn.Linear(1, 1))
    for part in module.modules():
        for name in of_models.LEFT_BY_AN_ENGINE:
            setattr(part, name, object())
    of_models.forget_engine(module)
    assert not any(hasattr(part, name) for part in module.modules() for name in of_models.LEFT_BY_AN_ENGINE)


def test_names_not_saved():
    from transformers import PreTrainedModel

    assert PreTrainedModel._keys_to_ignore_on_save is None
    assert of_models.names_not_saved(SimpleNamespace(_keys_to_ignore_on_save=["a"])) == {"a"}
    assert of_models.names_not_saved(SimpleNamespace(_keys_to_ignore_on_save=None)) == set()
