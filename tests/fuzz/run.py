"""Starts everything, runs Schemathesis once per key, looks at the log, prints the summary. Started by `scripts/fuzz`."""

import json
import os
import pathlib
import subprocess
import sys
import time

import keys
from findings import Findings
from seeding import seed
from service import Service

FOLDER = pathlib.Path(__file__).parent
# One key's run; only what hangs takes so long.
HANG_SECONDS = 1800
EXAMPLES = 60


def main():
    seed_number = int(os.environ.get("SEED") or 1)
    examples = int(os.environ.get("EXAMPLES") or EXAMPLES)
    only = os.environ.get("ONLY")
    chosen = [key for key in keys.ALL if not only or key.name in only.split(",")]
    print(f"seed {seed_number}, {examples} examples per operation (SEED=…, EXAMPLES=… change that)", flush=True)
    service, findings = Service(), Findings()
    try:
        service.start()
        secrets = {key.name: service.create_key(key.app, key.scope, key.name) for key in keys.ALL if key.scope}
        known = seed(service, secrets["admin"])
        known["secrets"] = [*secrets.values(), service.user_token_secret]
        (service.folder / "known.json").write_text(json.dumps(known))
        for key in chosen:
            run_key(service, key, secrets.get(key.name), seed_number, examples, findings)
            if not service.is_running():
                findings.problems.append(f"a process ended while {key.name} asked")
                break
        findings.problems += service.stop()
        findings.problems += problems_of_log(service, known)
    finally:
        service.stop()
        service.remove()
    findings.print(seed_number)
    return 1 if findings.is_any() else 0


def run_key(service, key, secret, seed_number, examples, findings):
    """One run of Schemathesis."""
    begun = time.monotonic()
    print(f"{key.name}: ", end="", flush=True)
    config, report = service.folder / "schemathesis.toml", service.folder / "report.ndjson"
    auth = '\n[auth.openapi.key]\nbearer = "${FUZZ_KEY}"\n' if secret else ""
    config.write_text((FOLDER / "schemathesis.toml").read_text() + auth)
    report.unlink(missing_ok=True)
    arguments = ["--config-file", str(config), "run", service.url + "/openapi.json", "--phases", key.phases]
    arguments += ["--seed", str(seed_number), "--max-examples", str(max(1, round(examples * key.share)))]
    arguments += ["--report", "ndjson", "--report-ndjson-path", str(report)]
    # Data that takes long to generate is no fault of the service.
    arguments += ["--workers", "1", "--generation-database", "none", "--suppress-health-check", "all", "--no-color"]
    done = subprocess.run(
        [str(pathlib.Path(sys.executable).with_name("st")), *arguments],
        cwd=service.folder,
        env=os.environ
        | {
            "PYTHONPATH": str(FOLDER),
            "SCHEMATHESIS_HOOKS": "hooks",
            "FUZZ_KNOWN": str(service.folder / "known.json"),
            "FUZZ_KEY": secret or "",
            "COLUMNS": "120",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=HANG_SECONDS,
    )
    # 1: something was found.
    if done.returncode not in (0, 1) or not report.exists():
        raise RuntimeError(f"schemathesis ended {done.returncode}:\n{done.stdout[-4000:]}")
    cases = findings.add(key.name, report, service.url, time.monotonic() - begun)
    print(f"{cases} cases, {findings.seconds[key.name]:.0f} s", flush=True)
    if done.returncode and not findings.of_key(key.name):
        findings.problems.append(f"{key.name}: schemathesis ended 1:\n{done.stdout[-4000:]}")


def problems_of_log(service, known):
    """Lines of the log that an operator would have to act on, and secrets in any file that the processes wrote."""
    problems = []
    for line in service.log_lines():
        if not isinstance(line, dict):
            problems.append(f"a line of the log is no JSON: {line[:500]}")
        elif line.get("level") == "ERROR":
            problems.append(f"the log has an error: {json.dumps(line)[:1000]}")
        elif "panic" in line.get("message", ""):
            problems.append(f"the log has a panic: {json.dumps(line)[:1000]}")
    tokens = [token for each in known["tokens"].values() for token in each]
    for file in [*service.folder.glob("*.log"), *service.folder.glob("*.out")]:
        text = file.read_text(errors="replace")
        for secret in [*known["secrets"], *known["user_tokens"], *tokens]:
            if secret in text:
                at = text.index(secret)
                around = text[max(0, at - 300) : at] + "[the secret]"
                problems.append(f"{file.name} has a secret: {around}")
                break
    return problems


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
