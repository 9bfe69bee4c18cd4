"""What Schemathesis loads: ids that exist, and further checks.

The variable FUZZ_KNOWN names the file with what `run.py` seeded.
"""

import json
import os
import pathlib
import threading
import zlib

import jsonschema_rs
import schemathesis

KNOWN = json.loads(pathlib.Path(os.environ["FUZZ_KNOWN"]).read_text())
# Ids that answers name are remembered, the newest ones up to this number.
IDS_MAX = 50
# A shorter text may be in an answer by chance.
SECRET_CHARS_MIN = 12
ID_PREFIXES = {"dev_": "devices", "ntf_": "notifications", "run_": "runs"}

lock = threading.Lock()

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


@schemathesis.hook
def before_call(context, case, kwargs):
    if not is_negative(case, "PATH"):
        for name, value in (case.path_parameters or {}).items():
            known = KNOWN.get(kind_of(case.operation.path, name), [])
            if value not in known:
                case.path_parameters[name] = chosen(value, known)
    if isinstance(case.body, (dict, list)) and not is_negative(case, "BODY"):
        case.body = with_known(case.body)
    if not is_negative(case, "QUERY") and zlib.crc32(repr(case.query).encode()) % 4:
        # A drawn text is no cursor, which is all that the answer would say.
        (case.query or {}).pop("cursor", None)
    if not is_negative(case, "HEADER"):
        with_known_headers(case)


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


# ---- checks ---------------------------------------------------------------------------------------------------------


def json_of(response):
    try:
        return json.loads(response.content)
    except ValueError:
        return None


def header(response, name):
    values = response.headers.get(name.lower()) or response.headers.get(name) or []
    return values[0] if values else None


def response_of(case, response):
    """The part of the document about this status, or nothing if the document has no such method or status."""
    if (response.request.method or "").lower() != case.operation.method.lower():
        return None
    methods = case.operation.schema.raw_schema["paths"][case.operation.path]
    return methods[case.operation.method.lower()]["responses"].get(str(response.status_code))


def is_problem(response):
    return (header(response, "content-type") or "").startswith("application/problem+json")


@schemathesis.check
def error_is_a_documented_problem(ctx, response, case):
    """The document lists the codes of each status of each operation."""
    documented = response_of(case, response)
    if response.status_code < 400 or documented is None:
        return
    assert is_problem(response), f"{response.status_code} without a problem document"
    codes = documented["content"]["application/problem+json"]["examples"]
    code = (json_of(response) or {}).get("code")
    assert code in codes, f"{response.status_code} with the undocumented code {code}"


@schemathesis.check
def answer_has_a_request_id(ctx, response, case):
    given = header(response, "request-id")
    assert given, "no header Request-Id"
    if is_problem(response):
        assert (json_of(response) or {}).get("request_id") == given, "a problem names another request"


@schemathesis.check
def fault_names_its_place(ctx, response, case):
    """A 400 or 422 lists its faults, each with its place and code."""
    if response.status_code not in (400, 422) or not is_problem(response):
        return
    problem = json_of(response) or {}
    if problem.get("code") not in ("invalid_request", "unprocessable"):
        return
    faults = problem.get("errors")
    assert faults, "no list of faults"
    for fault in faults:
        places = [name for name in ("pointer", "parameter", "header") if name in fault]
        assert len(places) == 1 and fault.get("code"), f"a fault without one place and a code: {fault}"


@schemathesis.check
def forbidden_body_is_refused(ctx, response, case):
    """As `negative_data_rejection`, and also for members that the document doesn't know."""
    if response.status_code >= 300 or response_of(case, response) is None or has_refused_item(json_of(response)):
        return
    sent = (response.request.headers.get("Content-Type") or "").split(";")[0]
    content = request_content(case)
    if not content or sent != "application/json" or sent not in content:
        return
    body = json.loads(response.request.body or b"null")
    error = next(validator(case, content[sent]["schema"]).iter_errors(body), None)
    assert error is None, f"the document forbids the body: {error.message if error else ''}"


@schemathesis.check
def answer_shows_no_secret(ctx, response, case):
    """No answer repeats a key or user token, and no problem a device token of the request."""
    text = response.content.decode("utf-8", "replace")
    secrets = [*KNOWN["secrets"], *KNOWN["user_tokens"]]
    if is_problem(response):
        secrets += tokens_in(case.body)
    assert not any(secret in text for secret in secrets), "the answer repeats a secret"


def tokens_in(value):
    if isinstance(value, list):
        return [token for item in value for token in tokens_in(item)]
    if not isinstance(value, dict):
        return []
    own = [value.get(name) for name in ("token", "replaces")]
    own = [token for token in own if isinstance(token, str) and len(token) >= SECRET_CHARS_MIN]
    return own + [token for member in value.values() for token in tokens_in(member)]


def request_content(case):
    methods = case.operation.schema.raw_schema["paths"][case.operation.path]
    return methods[case.operation.method.lower()].get("requestBody", {}).get("content")


validators = {}


def validator(case, schema):
    name = json.dumps(schema)
    if name not in validators:
        components = case.operation.schema.raw_schema["components"]
        validators[name] = jsonschema_rs.Draft202012Validator({**schema, "components": components})
    return validators[name]


def has_refused_item(body):
    """Does the answer say of an item of the request that it was refused, as that of a batch does?"""
    items = body.get("items") if isinstance(body, dict) else None
    return any(isinstance(item, dict) and item.get("problem") for item in items or [])


def is_beyond_schemas(fault):
    """A fault of form that no schema of the document can say."""
    # Which cursors there are; that one of several members is needed, and may not be null.
    needs_one = fault.get("code") == "missing_field" and " needs one of " in fault.get("detail", "")
    return needs_one or fault.get("code") == "invalid_cursor"


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Drops what is right although Schemathesis can't know it."""
    kind, body = type(failure).__name__, json_of(response) or {}
    if kind == "AcceptedNegativeData" and case.operation.path == "/v1/devices/import":
        # An import takes the lines that are right: a forbidden line is a failure in its answer, not of the request.
        return not (response.status_code == 200 and body.get("failed"))
    if kind == "AcceptedNegativeData" and has_refused_item(body):
        return False
    if kind == "RejectedPositiveData":
        return not any(is_beyond_schemas(fault) for fault in body.get("errors", []))
    return True
