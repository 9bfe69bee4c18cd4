"""The simulator and the service, each a process with files in one temporary folder."""

import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.request

BINARY = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target")).resolve() / "debug/pushpost"
# For a start, a stop or one command. Only a process that hangs takes so long.
HANG_SECONDS = 180

SETTINGS = """
[limits]
# All requests come from one address.
register_per_minute = 100000000

[[apps.shop.user_tokens.keys]]
algorithm = "HS256"
secret = "{secret}"
"""


class Service:
    """`pushpost serve` with embedded Postgres, and `pushpost simulate` as its providers."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="pushpost-fuzz-"))
        # Postgres can't run as root and gets an account of its own, which must enter the folder.
        self.folder.chmod(0o755)
        self.user_token_secret = secrets.token_hex(32)
        self.processes = []
        self.url = None

    @property
    def config(self):
        return self.folder / "pushpost.toml"

    @property
    def log(self):
        return self.folder / "serve.log"

    def start(self):
        self._start_simulator()
        self._configure()
        self._spawn(["serve", "--config", str(self.config)], self.folder / "serve.out", self.log)
        self.url = self._until(self._address, "the service does not listen")
        self._until(lambda: self.get("/readyz")[0] == 200, "the service is not ready")

    def create_key(self, app, scope, name):
        """The secret of a new key."""
        arguments = ["keys", "create", "--app", app, "--scope", scope, "--name", name, "--config", str(self.config)]
        done = subprocess.run(
            [BINARY, *arguments], capture_output=True, text=True, env=self._environment(), timeout=HANG_SECONDS
        )
        if done.returncode:
            raise RuntimeError(f"keys create ended {done.returncode}: {done.stderr}")
        return done.stdout.strip()

    def get(self, path):
        return self.ask("GET", path)

    def ask(self, method, path, key=None, body=None):
        """Status and JSON body of the answer."""
        headers = {"content-type": "application/json"}
        if key:
            headers["authorization"] = f"Bearer {key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=HANG_SECONDS) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or "null")
        except OSError:
            return 0, None

    def is_running(self):
        return all(process.poll() is None for process in self.processes)

    def stop(self):
        """Stops the service, then the simulator. Returns what went wrong, if anything did."""
        problems = []
        for process in reversed(self.processes):
            name = pathlib.Path(process.args[0]).name + " " + process.args[1]
            if process.poll() is not None:
                problems.append(f"{name} had ended by itself, with {process.returncode}")
                continue
            process.send_signal(signal.SIGTERM)
            try:
                status = process.wait(HANG_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                problems.append(f"{name} did not end at SIGTERM")
            else:
                if status:
                    problems.append(f"{name} ended {status} at SIGTERM")
        return problems

    def remove(self):
        # As root, the embedded Postgres has its data beside its account, because it may not enter every folder.
        pointer = self.folder / "data/postgres-is-at"
        if pointer.exists():
            shutil.rmtree(pointer.read_text().strip(), ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_lines(self):
        """The lines of the log: objects, or texts where a line is no JSON."""
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                yield json.loads(line)
            except ValueError:
                yield line

    def _start_simulator(self):
        ports = ["--apns-port", "0", "--fcm-port", "0", "--control-port", "0"]
        output = self.folder / "simulate.out"
        arguments = ["simulate", "--dir", str(self.folder), "--json", "--ledger", "counts", *ports]
        self._spawn(arguments, output, self.folder / "simulate.log")
        self._until(lambda: self.config.exists() and "\n" in output.read_text(), "the simulator does not start")

    def _configure(self):
        config = self.config.read_text().replace("127.0.0.1:8080", "127.0.0.1:0")
        config = re.sub(r'data_dir = ".*"', f'data_dir = "{self.folder}/data"', config)
        apps = config[config.index("[apps.shop") :].replace("[apps.shop", "[apps.other")
        settings = SETTINGS.format(secret=self.user_token_secret)
        self.config.write_text(f"{config}\n{settings}\n{apps}")

    def _address(self):
        for line in self.log_lines():
            if isinstance(line, dict) and line.get("message", "").startswith("listening on http://"):
                return line["message"].removeprefix("listening on ")
        return None

    def _spawn(self, arguments, output, log):
        with output.open("wb") as stdout, log.open("wb") as stderr:
            process = subprocess.Popen(
                [str(BINARY), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=self._environment(),
            )
        self.processes.append(process)

    @staticmethod
    def _environment():
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PUSHPOST", "DATABASE_URL"))}
        return kept | {"PUSHPOST_LOG": "debug", "PUSHPOST_LOG_FORMAT": "json"}

    def _until(self, condition, what):
        """Waits for a state. Only a process that hangs or ended makes it fail."""
        begun = time.monotonic()
        while True:
            if found := condition():
                return found
            if not self.is_running() or time.monotonic() - begun > HANG_SECONDS:
                logs = "".join(path.read_text(errors="replace")[-4000:] for path in self.folder.glob("*.log"))
                raise RuntimeError(f"{what}:\n{logs}")
            time.sleep(0.1)
