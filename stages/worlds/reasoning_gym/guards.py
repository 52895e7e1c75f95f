"""Keeps answers from graders that would run them as code.

Four families call `eval` on the answer, and five call SymPy's `parse_expr`, which does the same: an answer like
"__import__('os').system('...')" would run. These graders get an answer only if its syntax tree holds nothing but what a
right answer can hold.
"""

import ast
import math
import re
from typing import Any

LITERALS = ("string_insertion", "spiral_matrix", "binary_matrix", "n_queens")  # lists and texts
ARITHMETIC = ("countdown", "puzzle24")  # numbers, operators, brackets
# Like ARITHMETIC, with variables, functions and small powers.
FORMULAS = ("polynomial_multiplication", "simple_integration", "intermediate_integration")

MAX_DEPTH, MAX_NODES = 40, 400  # of a syntax tree
MAX_DEGREE = 100  # of a polynomial, multiplied out
MAX_DIGITS = 30  # of a number
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
    """Returns whether the family's grader may see an answer.

    Graders that do not read it as code may see every answer, except where they would accept one for all problems.

    Args:
        task: name of the family.
        answer: the final answer of a completion.
        entry: the problem.
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
    """Returns the syntax tree of an expression, or None where it cannot be parsed or is too large or deep."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    return tree if sum(1 for _ in ast.walk(tree)) <= MAX_NODES and _depth(tree) <= MAX_DEPTH else None


def _depth(tree: ast.AST) -> int:
    depth = 0
    level = [tree]
    while level:
        depth += 1
        level = [child for node in level for child in ast.iter_child_nodes(node)]
    return depth


def _is_literal(text: str) -> bool:
    """Returns whether a text is made of lists, tuples, texts and numbers only: `eval` then runs nothing."""
    tree = _parsed(text)
    allowed = (ast.List, ast.Tuple, ast.Constant, ast.UnaryOp, ast.USub, ast.Load)
    return tree is not None and all(isinstance(node, allowed) for node in ast.walk(tree))


def _is_formula(node: ast.AST, is_arithmetic: bool) -> bool:
    """Returns whether a tree is a formula: numbers, operators and brackets; if not `is_arithmetic`, also variables."""
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
    """Returns how large a power the formula comes to when it is multiplied out, which SymPy may do."""
    if isinstance(node, ast.BinOp):
        left, right = _degree(node.left), _degree(node.right)
        if isinstance(node.op, ast.Pow):
            return left * right * max(1, math.prod(_constants(node.right)))
        return max(left, right) if isinstance(node.op, (ast.Add, ast.Sub)) else left + right
    if isinstance(node, (ast.UnaryOp, ast.Call)):
        return max([1, *map(_degree, ast.iter_child_nodes(node))])
    return 1


def _constants(tree: ast.AST) -> list[float]:
    """Returns the absolute values of the numbers in a formula; `_is_formula` has admitted no other constants."""
    return [
        abs(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, (int, float))
    ]
