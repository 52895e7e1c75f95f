"""Problem families of the reasoning-gym library: prompts, a world to pretrain in, and guards for their graders."""
