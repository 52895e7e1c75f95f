"""What the training loops share: the supervised loop, rollouts, traces, health alarms and rollback."""
