"""Rule rewards: functions of a completion that need no reference answer."""
