"""The libraries of the trackers: what to import, and how to install it. pyproject.toml has them as extras."""

INSTALLS = {
    "tensorboard": "pip install 'tensorboard>=2.19,<3'",
    "wandb": "pip install 'wandb>=0.28,<0.40'",
    "mlflow": "pip install 'mlflow-skinny>=3.10,<4'",
    "trackio": "pip install 'trackio>=0.40,<1'",
}
MODULES = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio"}
