"""Models compared pair by pair on the same problems: which is better, by how much, how sure."""

from itertools import combinations

from stages.kinds.evaluation.statistics import paired_difference


def compare(means: dict[str, dict[str, list[float]]]) -> list[dict]:
    """`means`: set -> model -> pass@1 of each problem, in one order. A row for each pair of models (in their order) and
    set: {"set", "metric", "model", "against", "difference", "low", "high", "p", "n"}; the difference is the model's
    minus the other's.
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
