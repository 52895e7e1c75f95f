"""Compares models pair by pair on the same problems: which is better, by how much, and how sure that is."""

from itertools import combinations

from stages.kinds.evaluation.statistics import paired_difference


def compare(means: dict[str, dict[str, list[float]]]) -> list[dict]:
    """Compares each pair of models on each set.

    Args:
        means: set -> model -> pass@1 of each problem, the problems in the same order for all models.

    Returns:
        A row for each set and pair: {"set", "metric", "model", "against", "difference", "low", "high", "p", "n"}; the
        difference is that of `model` minus that of `against`, the earlier one in the recipe.
    """
    rows = []
    for set_name, of_model in means.items():
        for against, model in combinations(of_model, 2):
            found = paired_difference(of_model[against], of_model[model])
            rows.append(
                {
                    "set": set_name,
                    "metric": "pass@1",
                    "model": model,
                    "against": against,
                    **{name: round(value, 6) for name, value in found.items()},
                    "n": len(of_model[model]),
                }
            )
    return rows
