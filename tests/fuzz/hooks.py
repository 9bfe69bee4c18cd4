"""What Schemathesis loads: ids that exist, notifications that are accepted, what follows what, and the checks."""

import json
import threading
import zlib

import schemathesis

from checks import has_refusal, is_beyond_schemas, json_of
from known import KNOWN
from sendable import sendable

# Ids that answers name are remembered, the newest ones up to this number.
IDS_MAX = 50
ID_PREFIXES = {"dev_": "devices", "ntf_": "notifications", "run_": "runs"}
EVENTS = "/v1/events"
SEND, BATCH, PREVIEW = "/v1/notifications", "/v1/notifications/batch", "/v1/notifications/preview"

# What is asked about a notification that was accepted, and where the answer has its id.
FOLLOWING = ("getNotification", "listDeliveries", "cancelNotification")
ACCEPTED = ((SEND, "202", "$response.body#/id"), (BATCH, "200", "$response.body#/items/*/id"))

# What DELETE stops and does not remove.
STOPPED_BY_DELETE = ("/v1/notifications/", "/v1/admin/cleanups/")

lock = threading.Lock()

# ---- what follows what ----------------------------------------------------------------------------------------------


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Links from what accepts a notification to what is asked about it, which Schemathesis does not find by itself."""
    for path, status, place in ACCEPTED:
        links = {name: {"operationId": name, "parameters": {"path.id": place}} for name in FOLLOWING}
        raw_schema["paths"][path]["post"]["responses"][status]["links"] = links


# ---- ids that exist -------------------------------------------------------------------------------------------------


def chosen(drawn, candidates):
    """One of the candidates in place of the drawn value, or that value itself in about one of four cases.

    The same value leads to the same choice, so that Schemathesis can shrink and repeat a request.
    """
    number = zlib.crc32(repr(drawn).encode())
    if not candidates or number % 4 == 0:
        return drawn
    return candidates[number // 4 % len(candidates)]


def kind_of(path, name):
    """What a parameter of a path names."""
    if name == "id":
        return path.removeprefix("/v1/").removeprefix("admin/").split("/")[0].replace("cleanups", "runs")
    return {"topic": "topics", "user": "users", "lane": "lanes"}.get(name)


def is_negative(case, location):
    components = case.meta.components if case.meta else {}
    return any(place.name == location and part.mode.is_negative for place, part in components.items())


def with_known(value):
    """A body with tokens, users and devices that exist, or could."""
    if isinstance(value, list):
        return [with_known(item) for item in value]
    if not isinstance(value, dict):
        return value
    value = {name: with_known(member) for name, member in value.items()}
    tokens = KNOWN["tokens"].get(str(value.get("platform")), [])
    for name in ("token", "replaces"):
        if isinstance(value.get(name), str):
            value[name] = chosen(value[name], tokens)
    if isinstance(value.get("user"), str):
        value["user"] = chosen(value["user"], KNOWN["users"])
    for name in ("devices", "users", "topics"):
        if isinstance(value.get(name), list):
            value[name] = [
                chosen(item, KNOWN[name]) if isinstance(item, str) else item for item in value[name]
            ]
    return value


def with_known_headers(case):
    """User tokens that are right, and one idempotency key where header and body would have two."""
    headers = case.headers or {}
    if "Pushpost-User-Token" in headers:
        headers["Pushpost-User-Token"] = chosen(headers["Pushpost-User-Token"], KNOWN["user_tokens"])
    if "Idempotency-Key" in headers and isinstance(case.body, dict):
        case.body.pop("idempotency_key", None)


def make_sendable(case):
    """Makes seven of eight drawn notifications some that are accepted, so that what follows is asked for."""
    number = zlib.crc32(repr(case.body).encode())
    if case.method != "POST" or case.operation.path not in (SEND, BATCH, PREVIEW) or number % 8 == 0:
        return
    if isinstance(case.body, list):
        case.body = [sendable(item, KNOWN) if isinstance(item, dict) else item for item in case.body]
    else:
        case.body = sendable(case.body, KNOWN)
    if number // 8 % 4 and not is_negative(case, "QUERY"):
        (case.query or {}).pop("dry_run", None)
    if number // 32 % 4 and not is_negative(case, "HEADER"):
        # Mostly the key of another notification, which is all that the answer would say.
        (case.headers or {}).pop("Idempotency-Key", None)
        if isinstance(case.body, dict):
            case.body.pop("idempotency_key", None)


@schemathesis.hook
def before_call(context, case, kwargs):
    if not is_negative(case, "PATH"):
        for name, value in (case.path_parameters or {}).items():
            known = KNOWN.get(kind_of(case.operation.path, name), [])
            if value not in known:
                case.path_parameters[name] = chosen(value, known)
    if isinstance(case.body, (dict, list)) and not is_negative(case, "BODY"):
        case.body = with_known(case.body)
        make_sendable(case)
    if not is_negative(case, "QUERY") and zlib.crc32(repr(case.query).encode()) % 4:
        # A drawn text is no cursor, which is all that the answer would say.
        (case.query or {}).pop("cursor", None)
        (case.query or {}).pop("after", None)
    if case.operation.path == EVENTS and not is_negative(case, "QUERY"):
        # One beginning at most, which no schema can say.
        query = case.query or {}
        given = [name for name in ("cursor", "after", "since") if name in query]
        for name in given[1:]:
            del query[name]
    if not is_negative(case, "HEADER"):
        with_known_headers(case)
        if case.operation.path == EVENTS and zlib.crc32(repr(case.query).encode()) % 2:
            # Lines until now. What follows has no end, and so no answer that could be checked: tests/it/event_streams does.
            (case.query or {}).pop("follow", None)
            case.headers["Accept"] = "application/x-ndjson"
        if case.operation.path.endswith("/deliveries") and zlib.crc32(repr(case.path_parameters).encode()) % 2:
            case.headers["Accept"] = "application/x-ndjson"


@schemathesis.hook
def after_call(context, case, response):
    if response.status_code >= 300:
        return
    body = json_of(response)
    found = body.get("id") if isinstance(body, dict) else None
    kind = ID_PREFIXES.get(str(found)[:4])
    if kind:
        with lock:
            ids = KNOWN[kind]
            if found not in ids:
                ids.append(found)
                del ids[:-IDS_MAX]


@schemathesis.serializer("application/x-ndjson")
def ndjson(context, value):
    """One line; bytes are sent as they are."""
    return value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n"


# ---- what is no finding ----------------------------------------------------------------------------------------------


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Drops what is right although Schemathesis can't know it."""
    kind, body = type(failure).__name__, json_of(response) or {}
    if kind == "AcceptedNegativeData" and case.operation.path == "/v1/devices/import":
        # An import takes the lines that are right: a forbidden line is a failure in its answer, not of the request.
        return not (response.status_code == 200 and body.get("failed"))
    if kind == "UseAfterFree" and case.operation.path.startswith(STOPPED_BY_DELETE):
        return False
    if kind == "AcceptedNegativeData" and has_refusal(body):
        return False
    if kind == "RejectedPositiveData":
        return not any(is_beyond_schemas(fault) for fault in body.get("errors", []))
    return True
