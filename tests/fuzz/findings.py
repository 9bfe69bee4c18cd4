"""What the runs of Schemathesis counted and found, read from their reports."""

import base64
import collections
import json
import shlex

# Of the failures of one check at one operation with one key, so many are shown.
SHOWN_EACH = 3
# Characters of a body or an answer that are shown.
SHOWN_CHARS = 1500


class Findings:
    def __init__(self):
        self.checks = collections.defaultdict(collections.Counter)
        self.operations = collections.defaultdict(collections.Counter)
        self.cases = collections.Counter()
        # Notifications that were accepted, answers about one, and those that were streams.
        self.accepted = self.asked_about = self.streams = 0
        self.seconds = {}
        # By key, operation and failure.
        self.failures = collections.defaultdict(list)
        # What no single request shows.
        self.problems = []

    def add(self, key, report, url, seconds):
        """Reads the report of a run with a key. Returns its number of requests."""
        self.seconds[key] = seconds
        with report.open() as lines:
            for line in lines:
                [(event, content)] = json.loads(line).items()
                if event == "ScenarioFinished":
                    self._add_scenario(key, content["recorder"], url)
                elif event in ("NonFatalError", "FatalError"):
                    self.problems.append(f"{key}: {json.dumps(content)[:SHOWN_CHARS]}")
        return self.cases[key]

    def of_key(self, key):
        return [failures for (of, _, _), failures in self.failures.items() if of == key]

    def is_any(self):
        return bool(self.failures or self.problems)

    def _add_scenario(self, key, recorder, url):
        for case, interaction in recorder.get("interactions", {}).items():
            self.cases[key] += 1
            answer = interaction.get("response")
            status = answer["status_code"] if answer else "none"
            # Schemathesis also asks for methods that the document doesn't have.
            label = operation(recorder, case)
            self.operations["other methods" if status == 405 else label][status] += 1
            if answer and 200 <= status < 300:
                self._add_success(label, answer)
            if answer is None:
                self.problems.append(f"{key}: no answer to {curl(interaction['request'], url)}")
        for case, checks in recorder.get("checks", {}).items():
            for check in checks:
                failure = (check.get("failure_info") or {}).get("failure")
                self.checks[check["name"]]["failed" if check["status"] == "failure" else "passed"] += 1
                if failure:
                    self._add_failure(key, recorder, case, check["name"], failure, url)

    def _add_success(self, label, answer):
        if label == "POST /v1/notifications" and answer["status_code"] == 202:
            self.accepted += 1
        elif label == "POST /v1/notifications/batch":
            items = json.loads(text(answer.get("content")))["items"]
            self.accepted += sum(1 for item in items if not item.get("problem"))
        elif "/v1/notifications/{id}" in label:
            self.asked_about += 1
            self.streams += "application/x-ndjson" in str(answer["headers"])

    def _add_failure(self, key, recorder, case, check, failure, url):
        interaction = recorder["interactions"].get(case, {})
        told = [f"{failure.get('title')}: {failure.get('message', '')}".strip().replace("\n", "; ")]
        if "request" in interaction:
            told.append(curl(interaction["request"], url))
        if interaction.get("response"):
            answer = interaction["response"]
            told.append(f"answer: {answer['status_code']} {text(answer.get('content'))[:SHOWN_CHARS]}")
        self.failures[key, operation(recorder, case), check].append("\n  ".join(told))

    def print(self, seed):
        width = max(map(len, self.operations), default=0)
        print(f"\n{'operation':{width}}  cases  answers")
        for label, counts in sorted(self.operations.items(), key=lambda item: item[0].split()[::-1]):
            answers = ", ".join(f"{status}: {counts[status]}" for status in sorted(counts, key=str))
            print(f"{label:{width}}  {counts.total():5}  {answers}")
        print(f"\n{'check':32}  passed  failed")
        for name, counts in sorted(self.checks.items()):
            print(f"{name:32}  {counts['passed']:6}  {counts['failed']:6}")
        print(f"\n{'key':16}  cases  seconds")
        for key, cases in self.cases.items():
            print(f"{key:16}  {cases:5}  {self.seconds[key]:7.0f}")
        for (key, label, check), failures in self.failures.items():
            print(f"\nFAILED {check}, {label}, key {key}, {len(failures)} times")
            for failure in failures[:SHOWN_EACH]:
                print(f"  {failure}")
        for problem in self.problems:
            print(f"\nPROBLEM {problem}")
        about = f"answers about one: {self.asked_about}, {self.streams} of them streams"
        print(f"\naccepted notifications: {self.accepted}; {about}")
        found = len(self.failures) + len(self.problems)
        operations = len(self.operations) - ("other methods" in self.operations)
        print(f"\n{operations} operations, {self.cases.total()} cases, seed {seed}: {found or 'nothing'} found")


def operation(recorder, case):
    """Method and path as the document has them."""
    value = recorder["cases"][case]["value"]
    return f"{value['method']} {value['path']}"


def text(content):
    if isinstance(content, dict):
        content = base64.b64decode(content["$base64"]).decode("utf-8", "replace")
    return content or ""


def curl(request, url):
    """The request as a command, for a service at $URL and a key in $KEY."""
    place = request["uri"].removeprefix(url)
    words = ["curl", "-X", request["method"], f'"$URL"{shlex.quote(place)}']
    for name, values in request["headers"].items():
        for value in values:
            if name.lower() == "authorization":
                words += ["-H", '"Authorization: Bearer $KEY"']
            else:
                words += ["-H", shlex.quote(f"{name}: {value}")]
    if body := request.get("body"):
        words += ["--data-binary", shlex.quote(text(body)[:SHOWN_CHARS])]
    return " ".join(words)
