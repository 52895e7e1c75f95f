"""Which answers a grader may see that reads them as code.

Four families call `eval` on the answer, five SymPy's `parse_expr`, which does the same:
"__import__('os').system('...')" would run. They get an answer only if its syntax tree holds nothing but what a right
answer can hold.
"""

import ast
import math
import re
from typing import Any

LITERALS = ("string_insertion", "spiral_matrix", "binary_matrix", "n_queens")  # lists and texts
ARITHMETIC = ("countdown", "puzzle24")  # numbers, operators, brackets
FORMULAS = (
    "polynomial_multiplication",
    "simple_integration",
    "intermediate_integration",
)  # and variables, functions, small powers

MAX_DEPTH, MAX_NODES, MAX_DEGREE, MAX_DIGITS = 40, 400, 100, 30
FUNCTIONS = (
    "exp",
    "log",
    "ln",
    "sqrt",
    "sin",
    "cos",
    "tan",
    "sec",
    "csc",
    "cot",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "Abs",
    "Rational",
)
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div)


def may_be_graded(task: str, answer: str, entry: dict[str, Any]) -> bool:
    """Whether the family's grader may see this answer; always so for graders that do not read it as code (and are not
    too generous).
    """
    if task in LITERALS:
        exact = [str(entry["answer"]), *(entry["metadata"].get("valid_answers") or [])]
        return answer in exact or answer.strip() in (text.strip() for text in exact) or _is_literal(answer)
    if task == "puzzle24" and sorted(map(int, re.findall(r"\d+", answer))) != sorted(entry["metadata"]["numbers"]):
        return False  # its grader would take any four numbers that make 24, and so one answer for all problems
    if task in ARITHMETIC or task in FORMULAS:
        tree = _parsed(answer)
        return tree is not None and _is_formula(tree, is_arithmetic=task in ARITHMETIC) and _degree(tree) <= MAX_DEGREE
    return True


def _parsed(text: str) -> ast.AST | None:
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return tree if sum(1 for _ in ast.walk(tree)) <= MAX_NODES and _depth(tree) <= MAX_DEPTH else None


def _depth(tree: ast.AST) -> int:
    depth, level = 0, [tree]
    while level:
        depth, level = depth + 1, [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def _is_literal(text: str) -> bool:
    """Lists, tuples and texts and numbers in them: what `eval` makes of it is what is written."""
    tree = _parsed(text)
    allowed = (ast.List, ast.Tuple, ast.Constant, ast.UnaryOp, ast.USub, ast.Load)
    return tree is not None and all(isinstance(node, allowed) for node in ast.walk(tree))


def _is_formula(node: ast.AST, is_arithmetic: bool) -> bool:
    if isinstance(node, ast.Constant):
        return type(node.value) in (int, float) and len(str(node.value)) <= MAX_DIGITS
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, (ast.USub, ast.UAdd)) and _is_formula(node.operand, is_arithmetic)
    if isinstance(node, ast.BinOp):
        sides = _is_formula(node.left, is_arithmetic) and _is_formula(node.right, is_arithmetic)
        return sides and (isinstance(node.op, _OPERATORS) or (isinstance(node.op, ast.Pow) and not is_arithmetic))
    if is_arithmetic:
        return False
    if isinstance(node, ast.Name):
        return (node.id.isalpha() and len(node.id) == 1) or node.id == "pi"  # any single letter is a variable
    if isinstance(node, ast.Call):
        return (
            isinstance(node.func, ast.Name)
            and node.func.id in FUNCTIONS
            and not node.keywords
            and all(_is_formula(argument, is_arithmetic) for argument in node.args)
        )
    return False


def _degree(node: ast.AST) -> float:
    """How large a power the formula comes to when it is written out: SymPy may do that."""
    if isinstance(node, ast.BinOp):
        left, right = _degree(node.left), _degree(node.right)
        if isinstance(node.op, ast.Pow):
            numbers = [abs(part.value) for part in ast.walk(node.right) if isinstance(part, ast.Constant)]
            return left * right * max(1, math.prod(numbers))
        return max(left, right) if isinstance(node.op, (ast.Add, ast.Sub)) else left + right
    return max([1, *map(_degree, ast.iter_child_nodes(node))]) if isinstance(node, (ast.UnaryOp, ast.Call)) else 1
