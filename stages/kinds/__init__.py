"""One room for each kind of stage: pretraining, SFT, GRPO, reward models, data collection, evaluation."""
