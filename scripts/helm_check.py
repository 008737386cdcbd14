"""Looks at rendered objects: helm_check.py FILE…, each named …-KUBERNETES_VERSION.yaml.

Says every fault and fails if there is one.
"""

import base64
import re
import sys

import kubernetes_validate
import yaml

# Settings that carry a secret may come from Secrets only.
SECRET_SETTINGS = {"PGL_DSN", "PGL_KEY", "PGL_ADMIN_PASSWORD"}
# Settings whose value is a file.
FILE_SETTINGS = re.compile(r"_(CERT|KEY|CA|KEYFILE)$|^PGL_KEYFILE$")
WORKLOADS = ("Deployment", "StatefulSet")
STANDARD_LABELS = {
    f"app.kubernetes.io/{name}"
    for name in ("name", "instance", "component", "part-of", "version", "managed-by")
} | {"helm.sh/chart"}

faults = []


def check(condition, what):
    if not condition:
        faults.append(what)


def validate(document, version):
    if document["apiVersion"].startswith("monitoring.coreos.com/"):
        endpoints = document["spec"]["podMetricsEndpoints"]
        check(endpoints and all(e["port"] == "operations" for e in endpoints), "PodMonitor without endpoint")
        return
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        faults.append(f"{label(document)}: {error.message} at {'.'.join(map(str, error.path))}")


def label(document):
    return f"{document['kind']}/{document['metadata']['name']}"


def file_of(container, pod, path):
    """The (Secret, key) a path inside the container comes from; key None: whatever the Secret holds."""
    for mount in container["volumeMounts"]:
        if not path.startswith(mount["mountPath"] + "/"):
            continue
        name = path[len(mount["mountPath"]) + 1:]
        volume = next(v for v in pod["volumes"] if v["name"] == mount["name"])
        if "secret" not in volume:
            return None
        for item in volume["secret"].get("items", [{"key": name, "path": name}]):
            if item["path"] == name:
                return volume["secret"]["secretName"], item["key"]
    return None


def check_settings(where, container, pod, secrets):
    for variable in container["env"]:
        name = variable["name"]
        if name in SECRET_SETTINGS:
            reference = variable.get("valueFrom", {}).get("secretKeyRef")
            check(reference and "value" not in variable, f"{where}: {name} is not from a Secret")
            if reference and reference["name"] in secrets:
                check(reference["key"] in secrets[reference["name"]]["data"],
                      f"{where}: {name}: no key {reference['key']} in {reference['name']}")
        elif FILE_SETTINGS.search(name) and name.startswith("PGL_"):
            found = file_of(container, pod, variable["value"])
            check(found, f"{where}: {name}: nothing is mounted at {variable['value']}")
            if found and found[0] in secrets:
                check(found[1] in secrets[found[0]]["data"], f"{where}: {name}: no {found[1]} in {found[0]}")
        else:
            check("BEGIN" not in variable.get("value", "") and "not-a-secret" not in variable.get("value", ""),
                  f"{where}: {name} shows a secret")


def check_deployment(document, version, secrets):
    where = label(document)
    pod = document["spec"]["template"]["spec"]
    container = pod["containers"][0]
    settings = {v["name"]: v.get("value") for v in container["env"]}
    probes = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    check(probes["liveness"]["path"] == "/livez" and probes["readiness"]["path"] == "/readyz",
          f"{where}: liveness and readiness ask the same")
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    check(settings["PGL_OPS_ADDR"] == f":{ports['operations']}", f"{where}: the probes ask another port")
    sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    grace = int(settings["PGL_SHUTDOWN_GRACE_SECONDS"])
    check(pod["terminationGracePeriodSeconds"] > sleep + grace, f"{where}: killed before its grace period is over")
    if version in ("1.28", "1.29"):
        check(sleep == 0, f"{where}: preStop.sleep is not known to Kubernetes {version}")
    check(pod["automountServiceAccountToken"] is False, f"{where}: has a service account token")
    check_restricted(where, pod)
    check_settings(where, container, pod, secrets)
    check("limits" in container["resources"] and "memory" in container["resources"]["limits"], f"{where}: no memory limit")
    selector = document["spec"]["selector"]["matchLabels"]
    check(selector.items() <= document["spec"]["template"]["metadata"]["labels"].items(), f"{where}: selector")
    return ports


def check_spool(document):
    """What a StatefulSet mounts as its spool is a claim of its own, larger than what is written to it."""
    where, spec = label(document), document["spec"]
    container = spec["template"]["spec"]["containers"][0]
    volumes = [v["name"] for v in spec["template"]["spec"].get("volumes", [])]
    claims = {c["metadata"]["name"]: c["spec"] for c in spec.get("volumeClaimTemplates", [])}
    for mount in container["volumeMounts"]:
        count = volumes.count(mount["name"]) + (mount["name"] in claims)
        check(count == 1, f"{where}: {count} volumes by the name {mount['name']}")
    check((document["kind"] == "StatefulSet") == ("spool" in claims), f"{where}: a spool without a place, or the reverse")
    if "spool" in claims:
        room = claims["spool"]["resources"]["requests"]["storage"]
        most = next(v["value"] for v in container["env"] if v["name"] == "PGL_SPOOL_MAX_BYTES")
        check(not room.isdigit() or int(room) > int(most), f"{where}: a claim of {room} bytes for {most}")


def check_scaled(documents):
    """What is scaled, and the Service that names the pods of a StatefulSet, are there."""
    there = {(d["kind"], d["metadata"]["name"]) for d in documents}
    for document in documents:
        if document["kind"] == "HorizontalPodAutoscaler":
            target = document["spec"]["scaleTargetRef"]
            check((target["kind"], target["name"]) in there, f"{label(document)}: scales nothing")
        if document["kind"] == "StatefulSet":
            check(("Service", document["spec"]["serviceName"]) in there, f"{label(document)}: no such Service")


def check_restricted(where, pod):
    context = pod["securityContext"]
    check(context["runAsNonRoot"] is True and context["seccompProfile"]["type"] == "RuntimeDefault", f"{where}: not restricted")
    for container in pod["containers"]:
        own = container["securityContext"]
        check(own["allowPrivilegeEscalation"] is False and own["capabilities"]["drop"] == ["ALL"]
              and own["readOnlyRootFilesystem"] is True, f"{where}: not restricted")


def check_selectors(documents):
    """Every selector finds pods of exactly one workload, and named target ports exist there."""
    deployments = {label(d): d for d in documents if d["kind"] in WORKLOADS}
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] == "Service":
            selector = spec["selector"]
        elif document["kind"] in ("PodDisruptionBudget", "PodMonitor"):
            selector = spec["selector"]["matchLabels"]
        elif document["kind"] == "NetworkPolicy":
            selector = spec["podSelector"]["matchLabels"]
        else:
            continue
        found = [d for d in deployments.values()
                 if selector.items() <= d["spec"]["template"]["metadata"]["labels"].items()]
        check(len(found) == 1, f"{label(document)}: selects {len(found)} workloads")
        if document["kind"] == "Service" and found:
            ports = {p["name"] for p in found[0]["spec"]["template"]["spec"]["containers"][0]["ports"]}
            check(all(p["targetPort"] in ports for p in spec["ports"]), f"{label(document)}: no such target port")
            check(all(p["targetPort"] != "operations" for p in spec["ports"]), f"{label(document)}: shows operations")


def check_secrets(secrets, documents):
    for name, secret in secrets.items():
        if name.endswith("-encryption-key"):
            for lines in secret["data"].values():
                keys = base64.b64decode(lines).decode().split()
                check(keys and all(len(base64.b64decode(key, validate=True)) == 32 for key in keys), "a key has not 32 bytes")
            check(secret["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep", "uninstalling deletes the key")
    pairs = [s for s in secrets.values() if s["type"] == "kubernetes.io/tls"]
    check(len({s["data"]["ca.crt"] for s in pairs}) <= 1, "the planes' certificates have two authorities")
    shown = yaml.dump([d for d in documents if d["kind"] != "Secret"])
    check("not-a-secret" not in shown, "a secret value stands outside a Secret")
    check(not re.search(r"BEGIN [A-Z ]*PRIVATE KEY", shown), "a private key stands outside a Secret")


def check_planes_meet(documents):
    services = {d["metadata"]["name"]: d for d in documents if d["kind"] == "Service"}
    for document in documents:
        if document["kind"] not in WORKLOADS:
            continue
        for variable in document["spec"]["template"]["spec"]["containers"][0]["env"]:
            if variable["name"] == "PGL_CONTROL_URLS":
                host, port = re.fullmatch(r"https://([^:/]+):(\d+)", variable["value"]).groups()
                service = services.get(host.split(".")[0])
                check(service and int(port) in [p["port"] for p in service["spec"]["ports"]], f"{host}:{port} is no Service")


def check_file(path, version):
    with open(path) as file:
        documents = [d for d in yaml.load_all(file, yaml.CSafeLoader) if d]
    check(len({label(d) for d in documents}) == len(documents), "two objects share a name")
    secrets = {d["metadata"]["name"]: d for d in documents if d["kind"] == "Secret"}
    for document in documents:
        validate(document, version)
        check(STANDARD_LABELS <= document["metadata"]["labels"].keys(), f"{label(document)}: recommended labels")
        if document["kind"] in WORKLOADS:
            check_spool(document)
            check_deployment(document, version, secrets)
        if document["kind"] == "Pod":
            check_restricted(label(document), document["spec"])
    check(sum(d["kind"] in WORKLOADS for d in documents) == 2, "not two workloads")
    check_scaled(documents)
    check_selectors(documents)
    check_secrets(secrets, documents)
    check_planes_meet(documents)


def main(paths):
    failed = False
    for path in paths:
        check_file(path, re.search(r"-([0-9.]+)\.yaml$", path).group(1))
        for fault in faults:
            print(f"{path}: {fault}", file=sys.stderr)
        failed = failed or bool(faults)
        faults.clear()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
