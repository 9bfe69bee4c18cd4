"""What exists before the first generated request: devices, topics, users and notifications, so that ids are known."""

import base64
import hashlib
import hmac
import json
import time

USERS = ["u1", "u2", "u3"]
TOPICS = ["news", "sport", "team:42"]
LANES = ["apns-production", "apns-sandbox", "fcm"]
TOKENS_EACH = 8


def seed(service, key):
    """Asks the service with a key that may do everything. Returns what then exists."""
    tokens = {
        "apns": [hashlib.sha256(f"apns {n}".encode()).hexdigest() for n in range(TOKENS_EACH)],
        "fcm": [f"fuzz-fcm-token-{n}:APA91b" for n in range(TOKENS_EACH)],
    }
    devices = [
        must(service, "PUT", "/v1/devices", key, registration(n, platform, token))["id"]
        for platform in tokens
        # The others are not known yet.
        for n, token in enumerate(tokens[platform][: TOKENS_EACH // 2])
    ]
    notifications = [
        must(service, "POST", "/v1/notifications", key, {"to": to, "title": "Fuzz", "label": "fuzz"})["id"]
        for to in ({"users": USERS}, {"devices": devices}, {"all": True})
    ]
    must(service, "POST", "/v1/topics/news/subscribe", key, {"users": USERS[:1]})
    return {
        "tokens": tokens,
        "devices": devices,
        "notifications": notifications,
        "users": USERS,
        "topics": TOPICS,
        "lanes": LANES,
        "runs": [],
        "user_tokens": [user_token(service.user_token_secret, user) for user in USERS],
    }


def registration(n, platform, token):
    return {"platform": platform, "token": token, "user": USERS[n % len(USERS)], "topics": TOPICS[: n % 4]}


def must(service, method, path, key, body):
    status, answer = service.ask(method, path, key, body)
    if not 200 <= status < 300:
        raise RuntimeError(f"{method} {path} answers {status}: {answer}")
    return answer


def user_token(secret, user):
    """A user token of the app `shop`, as its backend signs it."""
    claims = {"sub": user, "aud": "pushpost:shop", "exp": int(time.time()) + 12 * 3600, "topics": ["team:42"]}
    head, body = (encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    signed = hmac.new(secret.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{encoded(signed)}"


def encoded(part):
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()
