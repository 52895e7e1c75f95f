"""The upload of a model to the Hugging Face hub.

One commit holds all files: a reader of the repository sees the old version or the whole new one.
"""

from pipeline.commands.parcel import CARD, Parcel
from pipeline.errors import InvalidConfig, MissingInput, StageFailed
from stages.data.hub import hub_errors


def upload(parcel: Parcel, target: str, is_public: bool) -> str:
    """Makes the repository if it is not there and uploads everything in one commit.

    Returns:
        The repository's address.

    Raises:
        MissingInput: there is no token, or the hub may not be reached offline.
        InvalidConfig: the repository is public, and `is_public` is not set.
        StageFailed: the hub refused, or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if not get_token():
        raise MissingInput(
            "no Hugging Face token: the hub does not know who uploads",
            "hf auth login, or set HF_TOKEN to a token with write access",
        )
    api = HfApi()
    try:
        api.create_repo(target, private=not is_public, exist_ok=True)
        if not is_public and not api.repo_info(target).private:  # it existed before, and everybody can read it
            raise InvalidConfig(
                [
                    f"--to {target} exists and is public: add --public if everybody may read the model, "
                    "or name another repository"
                ]
            )
        operations = [
            CommitOperationAdd(name, parcel.texts[name].encode() if name in parcel.texts else str(path))
            for name, path in parcel.files.items()
        ]
        operations.append(CommitOperationAdd(CARD, parcel.card.encode()))
        short_fingerprint = next(iter(parcel.files.values())).parents[1].name
        commit = api.create_commit(target, operations, commit_message=f"{parcel.stage} {short_fingerprint}")
        return str(commit.repo_url)
    except OfflineModeIsEnabled as error:
        raise MissingInput(f"the hub cannot be reached: {error}", "unset HF_HUB_OFFLINE") from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        fix = (
            "check that the token may write to this owner: hf auth whoami"
            if status in (401, 403)
            else "try again; what was uploaded is not sent twice"
        )
        raise StageFailed(f"the hub refused {target} ({status}): {str(error).splitlines()[0]}", fix) from None
    except hub_errors() as error:  # no route, no name, connection refused
        raise StageFailed(f"the hub cannot be reached: {error}", "check the network and HF_ENDPOINT") from None
