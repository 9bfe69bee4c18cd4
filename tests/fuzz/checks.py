"""Checks of answers beside those of Schemathesis."""

import json

import jsonschema_rs
import schemathesis

from known import KNOWN

# A shorter text may be in an answer by chance.
SECRET_CHARS_MIN = 12


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
    if response.status_code >= 300 or response_of(case, response) is None or has_refusal(json_of(response)):
        return
    sent = (response.request.headers.get("Content-Type") or "").split(";")[0]
    content = request_content(case)
    if not content or sent != "application/json" or sent not in content:
        return
    body = json.loads(response.request.body or b"null")
    error = next(validator(case, content[sent]["schema"]).iter_errors(body), None)
    assert error is None, f"the document forbids the body: {error.message if error else ''}"


@schemathesis.check
def stream_has_documented_lines(ctx, response, case):
    """The schema of NDJSON is that of each line."""
    documented = response_of(case, response)
    media_type = (header(response, "content-type") or "").split(";")[0]
    if documented is None or media_type != "application/x-ndjson":
        return
    schema = documented["content"][media_type]["schema"]
    for line in response.content.splitlines():
        error = next(validator(case, schema).iter_errors(json.loads(line)), None)
        assert error is None, f"a line is not as documented: {error.message if error else ''}"


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


def has_refusal(body):
    """Does an answer of success say what was refused: an item of a batch, or what a preview would be refused for?"""
    if not isinstance(body, dict):
        return False
    items = body.get("items") or []
    return bool(body.get("problems")) or any(isinstance(item, dict) and item.get("problem") for item in items)


def is_beyond_schemas(fault):
    """A fault of form that no schema of the document can say."""
    # Which cursors there are; that one of several members is needed, and may not be null; that only a preview needs
    # no `to`.
    # The types of FCM's message, which is not the document's.
    if "/fcm/" in fault.get("pointer", ""):
        return True
    if fault.get("code") == "missing_field":
        return " needs one of " in fault.get("detail", "") or fault.get("pointer") == "#/to"
    return fault.get("code") == "invalid_cursor"
