"""The keys that ask, and how much each asks."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Key:
    """A key, or none, by which a whole run is made."""

    name: str
    app: str = "shop"
    # None: requests without a key.
    scope: str | None = None
    # Part of the examples per operation. A key that may do little is refused before much is looked at.
    share: float = 1.0
    phases: str = "coverage,fuzzing"


ALL = [
    Key("admin", scope="admin", phases="examples,coverage,fuzzing"),
    # Sequences of requests, in which one follows from the answer to another: that many times the examples altogether.
    Key("admin, sequences", scope="admin", share=5, phases="stateful"),
    Key("backend", scope="send,read,devices", share=0.6, phases="examples,coverage,fuzzing"),
    Key("backend, sequences", scope="send,read,devices", share=5, phases="stateful"),
    Key("register", scope="register", share=0.6),
    Key("read", scope="read", share=0.2),
    Key("another app's", app="other", scope="admin", share=0.4),
    Key("none", share=0.1),
]
