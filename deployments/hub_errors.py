"""What the hub's refusals mean, in a line that names the repository and the revision and has no request's id."""

# huggingface_hub's errors are typed in part only.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

import re
from urllib.parse import unquote

# As the hub's addresses have them: /ORG/NAME/resolve/REVISION/FILE, /api/models/ORG/NAME/revision/REVISION.
ADDRESS = re.compile(
    r"https?://[^/\s]+(?:/api/models)?/(?P<name>[\w.-]+/[\w.-]+)"
    r"(?:/(?:resolve|revision|tree)/(?P<revision>[^/?\s]+)(?:/(?P<file>[^?\s]+))?)?(?:[?\s]|$)"
)


def hub_reason(error: BaseException, revision: str | None = None) -> str | None:
    """What the hub has said, where it is the cause of an engine's error; None where it is not.

    Args:
        revision: the one that was asked for; the address in the hub's error says it too, if there is one.
    """
    from huggingface_hub import errors

    cause: BaseException | None = error
    while cause is not None and not isinstance(
        cause, errors.HfHubHTTPError | errors.EntryNotFoundError | errors.OfflineModeIsEnabled
    ):
        cause = cause.__cause__
    if cause is None:
        return None
    response = getattr(cause, "response", None)
    address = ADDRESS.search(str(getattr(response, "url", "")) or str(cause))
    name, said, file = address.group("name", "revision", "file") if address else (None, None, None)
    name, at = name or "these weights", unquote(said or "").rstrip(".:") or revision or "main"
    if isinstance(cause, errors.GatedRepoError):
        return f"{name} (revision {at}) is gated: its terms have to be accepted, and HF_TOKEN has to be who did"
    if isinstance(cause, errors.RepositoryNotFoundError):
        return f"the hub has no {name} (revision {at}), or only for who may read it; HF_TOKEN says who asks"
    if isinstance(cause, errors.RevisionNotFoundError):
        return f"the hub has no revision {at} of {name}"
    if isinstance(cause, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled):
        return f"revision {at} of {name} is not on this machine, and the hub cannot be asked (offline?)"
    if isinstance(cause, errors.EntryNotFoundError):
        return f"revision {at} of {name} has no file {file or 'of the kind that is needed'}"
    return f"the hub answers {getattr(response, 'status_code', 'nothing')} for revision {at} of {name}"
