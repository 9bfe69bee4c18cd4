"""Checks that the files of deploy/ and the Dockerfile are hardened and consistent, as docs/operations.md says.

Run by scripts/check-deploy. Each check adds what it finds to one list; an empty list is success.
"""

import pathlib
import re
import sys
import tomllib

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
# Seconds between SIGTERM and SIGKILL, in every kind of deployment.
GRACE = 45
USER = 10001

faults: list[str] = []


def expect(is_so: bool, what: str) -> None:
    if not is_so:
        faults.append(what)


def compose() -> None:
    file = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    services = file["services"]
    expect("name" not in file, "compose.yaml: Debian's docker-compose refuses a top-level name")
    expect({"postgres", "node1", "node2", "prometheus", "grafana"} <= set(services), "compose.yaml: services")
    expect(services["postgres"]["image"].startswith("postgres:17"), "compose.yaml: Postgres 17")
    for name, service in services.items():
        place = f"compose.yaml: {name}"
        expect(service.get("read_only") is True, f"{place}: read_only")
        expect(service.get("cap_drop") == ["ALL"], f"{place}: cap_drop")
        expect("no-new-privileges:true" in service.get("security_opt", []), f"{place}: no-new-privileges")
        expect("/tmp" in service.get("tmpfs", []), f"{place}: tmpfs /tmp")
        expect(service.get("stop_grace_period") == f"{GRACE}s", f"{place}: stop_grace_period")
        expect(not service.get("privileged"), f"{place}: privileged")
        observes = name in ("prometheus", "grafana")
        expect((service.get("profiles") == ["observe"]) == observes, f"{place}: profiles")
        for port in service.get("ports", []):
            expect(port.startswith("127.0.0.1:"), f"{place}: port {port} is open to other hosts")
        for variable, value in service.get("environment", {}).items():
            secret = re.search("PASSWORD|SECRET|KEY|URL", variable)
            expect(not secret or variable.endswith("_FILE"), f"{place}: {variable}={value} is no file")
        for secret in service.get("secrets", []):
            expect("file" in file["secrets"][secret], f"{place}: secret {secret} is no file")
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("."):
                expect((DEPLOY / source).exists(), f"{place}: {source} does not exist")
                expect(volume.endswith(":ro"), f"{place}: {source} may be written")
    for node in ("node1", "node2"):
        expect(services[node]["build"]["target"] == "slim", f"compose.yaml: {node}: target")
    config = tomllib.loads((DEPLOY / "config/pushpost.toml").read_text())
    expect(secrets_of(config) == {f"/run/secrets/{name}" for name in services["node1"]["secrets"]},
           "config/pushpost.toml: the secrets of compose.yaml")


def secrets_of(config: dict) -> set[str]:
    """The paths of the keys that end in _file."""
    found = set()
    for key, value in config.items():
        if isinstance(value, dict):
            found |= secrets_of(value)
        elif key.endswith("_file"):
            found.add(value)
    return found


def kubernetes() -> None:
    found = {}
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for item in yaml.safe_load_all(path.read_text()):
            found[(item["kind"], item["metadata"]["name"])] = item
    expect({kind for kind, _ in found} >= {
        "Namespace", "ServiceAccount", "ConfigMap", "Job", "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy",
    }, f"kubernetes: kinds {sorted(found)}")
    deployment = found[("Deployment", "pushpost")]["spec"]
    expect(deployment["replicas"] == 2, "kubernetes: two replicas")
    expect(deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0, "kubernetes: maxUnavailable")
    pod = deployment["template"]
    job = found[("Job", "pushpost-migrate")]["spec"]["template"]
    for template in (pod, job):
        restricted(template["spec"])
    images = {spec["spec"]["containers"][0]["image"] for spec in (pod, job)}
    expect(len(images) == 1, f"kubernetes: nodes and migration have one image: {images}")
    container = pod["spec"]["containers"][0]
    expect(container["livenessProbe"]["httpGet"]["path"] == "/healthz", "kubernetes: liveness")
    expect(container["readinessProbe"]["httpGet"]["path"] == "/readyz", "kubernetes: readiness")
    expect(pod["spec"]["terminationGracePeriodSeconds"] == GRACE, "kubernetes: terminationGracePeriodSeconds")
    expect(found[("ServiceAccount", "pushpost")]["automountServiceAccountToken"] is False, "kubernetes: token")
    labels = found[("Namespace", "pushpost")]["metadata"]["labels"]
    expect(labels.get("pod-security.kubernetes.io/enforce") == "restricted", "kubernetes: pod security")
    nodes = pod["metadata"]["labels"]
    for name in (("Service", "pushpost"), ("Service", "pushpost-internal"), ("PodDisruptionBudget", "pushpost")):
        selector = found[name]["spec"]["selector"]
        selector = selector.get("matchLabels", selector)
        expect(selector.items() <= nodes.items(), f"kubernetes: {name} selects the nodes")
        expect(not selector.items() <= job["metadata"]["labels"].items(), f"kubernetes: {name} selects the migration")
    policy = found[("NetworkPolicy", "pushpost")]["spec"]
    for template in (pod, job):
        expect(policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items(), "kubernetes: policy")
    for rule in policy["ingress"]:
        if any(port["port"] in ("internal", 9090) for port in rule["ports"]):
            expect(rule.get("from") == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
                   "kubernetes: the internal port is open")
        else:
            expect({port["port"] for port in rule["ports"]} == {"http"}, "kubernetes: ports")
    ports = {port["name"] for port in container["ports"]}
    for name in ("pushpost", "pushpost-internal"):
        for port in found[("Service", name)]["spec"]["ports"]:
            expect(port["targetPort"] in ports, f"kubernetes: {name} leads to no port")
    config = tomllib.loads(found[("ConfigMap", "pushpost")]["data"]["pushpost.toml"])
    drain = int(config["delivery"]["drain_timeout"].removesuffix("s"))
    pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    expect(drain + pause + 15 <= GRACE, "kubernetes: drain_timeout and preStop fit into the grace period")


def restricted(pod: dict) -> None:
    """The restricted pod security standard, and what OPERATE's table adds to it."""
    security = pod["securityContext"]
    expect(security["runAsNonRoot"] is True and security["runAsUser"] == USER, "kubernetes: runAsNonRoot")
    expect(security["seccompProfile"]["type"] == "RuntimeDefault", "kubernetes: seccompProfile")
    expect(pod["enableServiceLinks"] is False, "kubernetes: enableServiceLinks")
    expect(pod["automountServiceAccountToken"] is False, "kubernetes: automountServiceAccountToken")
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        expect(not pod.get(key), f"kubernetes: {key}")
    for volume in pod["volumes"]:
        kinds = set(volume) - {"name"}
        expect(kinds <= {"configMap", "secret", "emptyDir", "projected"}, f"kubernetes: volume {kinds}")
    for container in pod["containers"]:
        security = container["securityContext"]
        expect(security["allowPrivilegeEscalation"] is False, "kubernetes: allowPrivilegeEscalation")
        expect(security["readOnlyRootFilesystem"] is True, "kubernetes: readOnlyRootFilesystem")
        expect(security["capabilities"] == {"drop": ["ALL"]}, "kubernetes: capabilities")
        expect("memory" in container["resources"]["limits"], "kubernetes: a limit of memory")


def unit() -> None:
    lines = [line.split("=", 1) for line in (DEPLOY / "pushpost.service").read_text().splitlines() if "=" in line and not line.startswith("#")]
    settings = dict(lines)
    wanted = {
        "Type": "notify",
        "DynamicUser": "yes",
        "StateDirectory": "pushpost",
        "ProtectSystem": "strict",
        "SystemCallFilter": "@system-service",
        "TimeoutStopSec": str(GRACE),
    }
    for key, value in wanted.items():
        expect(settings.get(key) == value, f"pushpost.service: {key}={settings.get(key)}")
    expect(bool(settings.get("LoadCredential")), "pushpost.service: LoadCredential")
    expect("kill -HUP" in settings.get("ExecReload", ""), "pushpost.service: ExecReload")


def image() -> None:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text())
    text = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    stages = [stage.splitlines() for stage in re.split(r"(?m)^(?=FROM )", text) if stage.startswith("FROM ")]
    heads = [stage[0].split() for stage in stages]
    names = [head[3] if len(head) > 2 else "" for head in heads]
    expect(names == ["build", "slim", ""], f"Dockerfile: stages {names}; the last one is the default")
    expect(heads[2][1] == "slim", "Dockerfile: the image with Postgres begins with the slim one")
    expect("postgresql" not in "\n".join(stages[1]), "Dockerfile: the slim image has no Postgres")
    expect("postgresql" in "\n".join(stages[2]), "Dockerfile: the default image has Postgres")
    for stage in stages[1:]:
        users = [line.split()[1] for line in stage if line.startswith("USER ")]
        expect(users[-1:] == [f"{USER}:{USER}"], f"Dockerfile: users {users}")
    expect(any(line.startswith("HEALTHCHECK") for line in stages[1]), "Dockerfile: HEALTHCHECK")
    ignore = (ROOT / ".dockerignore").read_text().split()
    for stage, name in zip(stages, names):
        for line in stage:
            if not line.startswith("COPY "):
                continue
            words = line.split()[1:]
            if words[0].startswith("--from="):
                source = words[0].removeprefix("--from=")
                expect(source in names[: names.index(name)], f"Dockerfile: {line}")
                continue
            for source in words[:-1]:
                expect((ROOT / source).exists(), f"Dockerfile: {source} does not exist")
                expect(f"!{source}" in ignore, f".dockerignore: {source} is left out")
    expect("ARG PUSHPOST_COMMIT" in text and 'PUSHPOST_COMMIT="$PUSHPOST_COMMIT" cargo build' in text,
           "Dockerfile: the build is told its commit, because the image has no checkout")
    built = re.search(r"--profile (\w+)", text)
    copied = re.search(r"--from=build /build/target/(\w+)/pushpost", text)
    expect(built is not None and copied is not None and built[1] == copied[1], "Dockerfile: the profile that is copied")


def prometheus() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    for rules in config["rule_files"]:
        expect((DEPLOY / "prometheus" / rules).exists(), f"prometheus.yml: {rules} does not exist")
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    expect("pushpost" in jobs, "prometheus.yml: the alerts name the job pushpost")


compose()
kubernetes()
unit()
image()
prometheus()
if faults:
    sys.exit("\n".join(faults))
print("deploy/ is as it should be")
