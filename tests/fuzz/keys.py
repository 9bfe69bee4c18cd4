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
    Key("admin", scope="admin", phases="examples,coverage,fuzzing,stateful"),
    Key("backend", scope="send,read,devices", share=0.6, phases="examples,coverage,fuzzing,stateful"),
    Key("register", scope="register", share=0.6),
    Key("read", scope="read", share=0.2),
    Key("another app's", app="other", scope="admin", share=0.4),
    Key("none", share=0.1),
]
