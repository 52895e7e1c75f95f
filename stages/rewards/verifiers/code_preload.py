"""What the graders of LiveCodeBench and APPS put before a Python program, so that programs may leave it out.

They import 17 modules with everything in them and raise the limit of recursion. Importing all that would cost each run
more than most programs do, so a program gets the names that it uses: `List` of typing, `math`, `gcd`. Which module a
name is from, where several have it, their order of imports decides.
"""

import builtins
import importlib
import re
from functools import cache

# In the order of their testing_util.py: each is imported as `from MODULE import *`, then again by its own name.
# Built-in names stay what they are. Of typing only the contents are imported, for us before the others: its Counter is
# an alias.
_MODULES = (
    "string re datetime collections heapq bisect copy math random statistics itertools functools operator io sys json"
)
RECURSION_LIMIT = 600_000  # APPS's; LiveCodeBench has 50,000
# Whole numbers of more than 4,300 digits may be printed too, as by the judges of contests.
_ALWAYS = (
    f"import sys; sys.setrecursionlimit({RECURSION_LIMIT}); "
    "hasattr(sys, 'set_int_max_str_digits') and sys.set_int_max_str_digits(0)"
)
_NAME = re.compile(r"(?<![\w.])[A-Za-z_]\w*")
_FUTURE = re.compile(r"^from[ \t]+__future__[ \t]+import\b(?:[ \t]*\([^)]*\))?[^\n]*$", re.MULTILINE)
# Names that the program gives a meaning itself, at the beginning of a line.
_DEFINED = re.compile(r"^(?:(?:async[ \t]+)?def|class)[ \t]+(\w+)|^(\w+)[ \t]*=(?!=)", re.MULTILINE)
_FROM = re.compile(r"^[ \t]*from[ \t]+[\w.]+[ \t]+import\b", re.MULTILINE)
_IMPORTED = re.compile(r"^(?:from[ \t]+[\w.]+[ \t]+)?import[ \t]+([^\n(]+)", re.MULTILINE)


def with_preloaded(source: str, own: str = "") -> str:
    """Returns a Python program with one line before it that imports what it uses of the preloaded names.

    Args:
        source: the program.
        own: a name that is the program's whatever else has it: the function that is called.

    The program is not parsed: a hostile one could crash this process. A name that it does not need costs an import.
    """
    source = source.removeprefix("\ufeff")
    defined = {name for pair in _DEFINED.findall(source) for name in pair}
    imported = {name for line in _IMPORTED.findall(source) for name in _NAME.findall(line)}
    used = sorted(set(_NAME.findall(_FROM.sub("", source))) & _module_of().keys() - defined - imported - {own})
    imports = "".join(f"try:\n {_module_of()[name]}\nexcept ImportError:\n pass\n" for name in used)
    line = _ALWAYS + (f"; exec({imports!r})" if imports else "")  # another interpreter may lack a name
    future = list(_FUTURE.finditer(source))
    place = future[-1].end() if future else 0  # which must come first
    return source[:place] + ("\n" if future else "") + line + "\n" + source[place:]


@cache
def _module_of() -> dict[str, str]:
    """Returns for each preloaded name the statement that imports it."""
    statements: dict[str, str] = {}
    for module in ("typing", *_MODULES.split()):
        held = importlib.import_module(module)
        names = getattr(held, "__all__", None) or [name for name in vars(held) if not name.startswith("_")]
        statements |= {name: f"from {module} import {name}" for name in names}
    statements |= {module: f"import {module}" for module in _MODULES.split()}
    return {name: statement for name, statement in statements.items() if not hasattr(builtins, name)}
