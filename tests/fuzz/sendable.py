"""Bodies of notifications that are accepted, made of drawn ones: what is drawn stays where the service takes it.

Without them nearly every drawn notification is refused, because a device id, a topic or an override is seldom right by
chance, and what follows an accepted one is hardly asked for.
"""

import datetime
import hashlib
import json
import re
import urllib.parse
import zlib

SELECTORS = ("devices", "users", "tokens", "topics", "condition", "all")
CONDITIONS = ("news", "news && (sport || !team:42)", "!news", "'news' in topics")
TTLS = (0, 7.0, 3600, "30s", "1h", "28d")
NOW = datetime.datetime.now(datetime.timezone.utc)
SEND_TIMES = tuple((NOW + datetime.timedelta(hours=hours)).isoformat() for hours in (-0.5, 0.01, 5000))
APNS = (
    {"headers": {"apns-priority": "5", "apns-collapse-id": "fuzz"}},
    {"headers": {"apns-push-type": "alert"}, "payload": {"aps": {"interruption-level": "passive"}, "own": [1, None]}},
    {"payload": {"aps": {"badge": 3.0}}},
)
FCM = (
    {"android": {"notification": {"notification_count": 3.0, "visibility": "PUBLIC"}}},
    {"androidV2": {"remoteNotification": {"useAsV1DataMessage": True}}},
    {"webpush": {"headers": {"Urgency": "high"}}, "fcm_options": {"analytics_label": "fuzz"}},
)
# What people see. A message has 4 KiB at most, in which a character takes up to 12 bytes.
TEXTS = ("title", "body", "subtitle", "sound", "category", "thread", "channel", "url")
TEXT_CHARS_MAX = 20
DATA_BYTES_MAX = 200
SHOWN = ("title", "body", "sound", "badge")
METADATA_ITEMS_MAX = 8


def pick(drawn, candidates):
    """One of the candidates, always the same for the same drawn value."""
    return candidates[zlib.crc32(repr(drawn).encode()) % len(candidates)]


def sendable(body, known):
    """A body that is accepted."""
    body = {**body, "to": audience(body.get("to"), known)}
    if body.get("send_at") is not None:
        body["send_at"] = pick(body["send_at"], SEND_TIMES)
    for name in TEXTS:
        if isinstance(body.get(name), str):
            body[name] = body[name][:TEXT_CHARS_MAX]
    if isinstance(body.get("image"), str):
        body["image"] = "https://cdn.example.com/" + urllib.parse.quote(body["image"][:TEXT_CHARS_MAX], safe="")
    if isinstance(body.get("collapse_key"), str):
        body["collapse_key"] = re.sub("[^!-~]", "", body["collapse_key"]) or "key"
    if body.get("ttl") is not None:
        body["ttl"] = pick(body["ttl"], TTLS)
    if isinstance(body.get("data"), dict):
        # A name with this letter before it is reserved by no provider.
        data = {"d" + name[:TEXT_CHARS_MAX]: value for name, value in body["data"].items()}
        body["data"] = data if len(json.dumps(data)) <= DATA_BYTES_MAX else {"d": 1}
    if isinstance(body.get("metadata"), dict):
        items = list(body["metadata"].items())[:METADATA_ITEMS_MAX]
        body["metadata"] = {name[:TEXT_CHARS_MAX]: value[:TEXT_CHARS_MAX] for name, value in items}
    for name, overrides in (("apns", APNS), ("fcm", FCM)):
        if body.get(name) is not None:
            body[name] = pick(body[name], overrides)
    return silent(body) if body.get("silent") else shown(body)


def silent(body):
    return {name: value for name, value in body.items() if name not in (*SHOWN, "apns", "fcm")}


def shown(body):
    has_content = any(body.get(name) is not None for name in SHOWN)
    return body if has_content else {**body, "title": "Fuzz"}


def audience(to, known):
    """An audience of what exists, with the selectors that were drawn."""
    to = dict(to) if isinstance(to, dict) else {}
    for name in ("devices", "users", "topics"):
        if isinstance(to.get(name), list):
            to[name] = [pick(item, known[name]) for item in to[name]]
    if isinstance(to.get("tokens"), list):
        to["tokens"] = [token(item, known) for item in to["tokens"]]
    if isinstance(to.get("condition"), str):
        to["condition"] = pick(to["condition"], CONDITIONS)
    if not to.get("platforms"):
        to.pop("platforms", None)
    if isinstance(to.get("except"), dict):
        excepted = to["except"]
        to["except"] = {
            name: items and [pick(item, known[name]) for item in items] for name, items in excepted.items()
        }
    if all(to.get(name) is None for name in SELECTORS):
        to["users"] = known["users"]
    return to


def token(drawn, known):
    """A token that is known, or could be."""
    kept = {name: drawn[name] for name in ("platform", "environment", "kind", "ref") if drawn.get(name) is not None}
    if kept["platform"] == "fcm":
        kept.pop("environment", None)
        kept.pop("kind", None)
    new = hashlib.sha256(repr(drawn).encode()).hexdigest()
    if "ref" in kept:
        kept["ref"] = re.sub("[^ -~]", "", kept["ref"])
    return {**kept, "token": pick(drawn, [*known["tokens"][kept["platform"]], new])}
