"""What to do about a tracker that fails or does not answer."""

from pipeline.configuration.tracker_libraries import INSTALLS

LATER = "What it has missed is sent when the same command is typed again."


def advice(tracker: str, error: BaseException) -> str:
    """One or two sentences: what to look at, and that nothing is lost."""
    text = str(error).lower()
    if isinstance(error, ImportError):
        return f"Install its library: {INSTALLS[tracker]}. {LATER}"
    if tracker == "wandb":
        if "key" in text or "login" in text or "permission" in text or "401" in text or "403" in text:
            return f"Set WANDB_API_KEY or type `wandb login`, or set WANDB_MODE=offline. {LATER}"
        return f"Look at the network, or set WANDB_MODE=offline and send later with `wandb sync`. {LATER}"
    if tracker == "mlflow":
        return f"Look at tracker.uri (or MLFLOW_TRACKING_URI) and whether its server answers. {LATER}"
    if tracker == "trackio":
        return f"Look at TRACKIO_SPACE_ID, TRACKIO_SERVER_URL and TRACKIO_DIR, and at the network. {LATER}"
    return f"Look at the space and the rights of the run's directory. {LATER}"
