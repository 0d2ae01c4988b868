"""What a client is told about a message that cannot be processed."""

from ext_proc.events import Refuse
from ext_proc.transform.problems import Cause, UnusableError

_REQUESTS = {
    Cause.UNREADABLE: (400, "request-not-processed", "Bad Request"),
    Cause.TOO_LARGE: (413, "body-too-large", "Content Too Large"),
    Cause.MEDIA_TYPE: (415, "unsupported-media-type", "Unsupported Media Type"),
    Cause.INVALID: (400, "invalid-request", "Bad Request"),
    Cause.FAILED: (400, "request-not-processed", "Bad Request"),
}


def request_refused(why: UnusableError, request_id: str) -> Refuse:
    status, name, title = _REQUESTS[why.cause]
    detail = f"The request cannot be processed: {why}."
    return Refuse(status, name, title, detail, (), request_id, problems=why.problems)


def response_refused(why: UnusableError, request_id: str) -> Refuse:
    """The problems are for the log alone: they are the service's."""
    name = "invalid-response" if why.cause is Cause.INVALID else "response-not-processed"
    detail = f"The service's response cannot be processed: {why}."
    return Refuse(502, name, "Bad Gateway", detail, (), request_id, problems=why.problems)
