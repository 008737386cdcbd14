"""Runs what the chart renders without a cluster: helm_as_compose.py RENDERED SECRETS_FOLDER > OVERRIDE

Turns the rendered Deployments into an override of compose.yaml, so that the planes there run with the chart's
settings, Secrets, mounts and user.
"""

import base64
import json
import os
import sys

import yaml

SERVICES = {"control-plane": ["control-plane"], "data-plane": ["data-plane-1", "data-plane-2"]}


def write_secret(folder, secret):
    path = os.path.join(folder, secret["metadata"]["name"])
    os.makedirs(path, exist_ok=True)
    for key, value in secret["data"].items():
        with open(os.path.join(path, key), "wb") as file:
            file.write(base64.b64decode(value))


def environment(container, secrets):
    for variable in container["env"]:
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        if reference:
            encoded = secrets[reference["name"]]["data"][reference["key"]]
            yield variable["name"], base64.b64decode(encoded).decode().replace("$", "$$")
        else:
            yield variable["name"], variable["value"]


def mounts(pod, container, folder):
    sources = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        volume = sources[mount["name"]]
        if "emptyDir" in volume:
            # Everybody may write to it, as the pod's group may.
            yield {"type": "tmpfs", "target": mount["mountPath"], "tmpfs": {"mode": 0o1777}}
            continue
        secret = volume["secret"]
        source = os.path.join(folder, secret["secretName"])
        for key in os.listdir(source):
            names = [item["path"] for item in secret.get("items", [{"key": key, "path": key}]) if item["key"] == key]
            for name in names:
                yield f"{source}/{key}:{mount['mountPath']}/{name}:ro"


def main(rendered, folder):
    with open(rendered) as file:
        documents = [d for d in yaml.safe_load_all(file) if d]
    secrets = {d["metadata"]["name"]: d for d in documents if d["kind"] == "Secret"}
    for secret in secrets.values():
        write_secret(folder, secret)
    hosts = [f"{d['metadata']['name']}.access.svc" for d in documents if d["kind"] == "Service"]
    print("services:")
    for deployment in (d for d in documents if d["kind"] == "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        container = pod["containers"][0]
        for service in SERVICES[container["name"]]:
            # JSON is YAML; "!override" replaces what compose.yaml says instead of adding to it.
            print(f"  {service}:")
            print(f"    entrypoint: !override {json.dumps(['pglens-' + container['name']])}")
            print(f"    user: \"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}\"")
            print(f"    environment: !override {json.dumps(dict(environment(container, secrets)))}")
            print(f"    volumes: !override {json.dumps(list(mounts(pod, container, folder)))}")
            if container["name"] == "control-plane":
                print(f"    networks: {json.dumps({'fleet': {'aliases': hosts}})}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
