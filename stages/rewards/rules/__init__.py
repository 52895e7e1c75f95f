"""Rule rewards: functions of a completion that need no reference answer.

Each module has `part(scored, weights)`: the part of the reward of one `ScoredCompletion`, where `weights` is the
stage's RewardConfig. The table of rules is RULES in `stages/kinds/grpo/scoring.py`.
"""
