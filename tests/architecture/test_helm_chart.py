"""The Helm chart agrees with the settings, and gives manifests that Kubernetes accepts.

Tests that render it need `helm`, and some the schemas of Kubernetes; `make helm` installs both.
Without them they are skipped.
"""

import json
import os
import re
import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from entrypoints.cli import main as main_module
from entrypoints.composition.identity_provider import provider_problems
from entrypoints.server.asgi import DRAIN_TIMEOUT_S
from entrypoints.setting_checks import (
    database_url_problems,
    default_password_problems,
    missing_extras,
    redis_url_problems,
)
from entrypoints.settings import SECRET, Settings, file_variable, read_settings, variable
from entrypoints.worker.supervisor import STOP_TIMEOUT_S

ROOT = Path(__file__).parents[2]
CHART = ROOT / "docker/helm/pandaprobe"
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
README = (CHART / "README.md").read_text()
TEMPLATES = sorted((CHART / "templates").rglob("*.yaml"))
SCHEMAS = sorted(ROOT.glob(".tools/kubernetes/kubernetes_validate/*/*-local-strict"))
HELM = shutil.which("helm", path=f"{ROOT / '.tools/bin'}{os.pathsep}{os.environ['PATH']}")
HELM_MAX_S = 60
SECRETS_MOUNT = "/run/secrets/pandaprobe"
OWNER = "PANDAPROBE_MIGRATION_DATABASE_URL"

# Settings that the chart sets itself, because ports and addresses are in its manifests.
# Set by the chart itself, or of a command that it doesn't run: `mcp`.
OF_CHART = {
    variable(name)
    for name in ("host", "port", "worker_port", "otlp_grpc_port", "mcp_port", "mcp_public_url")
}
IMAGE = {"repository": "registry.example.com/pandaprobe-server"}
SMALLEST: dict[str, Any] = {
    "image": IMAGE,
    "secrets": {
        "create": {
            "PANDAPROBE_DATABASE_URL": "postgresql://serving:d1f0@db.example.com/pandaprobe",
            "PANDAPROBE_REDIS_URL": "rediss://:a9b1@cache.example.com",
        }
    },
}
KEYS = ["PANDAPROBE_DATABASE_URL", "PANDAPROBE_METRICS_TOKEN", "PANDAPROBE_REDIS_URL"]
EVERYTHING: dict[str, Any] = {
    "image": IMAGE | {"digest": f"sha256:{'a' * 64}"},
    "imagePullSecrets": [{"name": "pull"}],
    "secrets": {"existingSecret": "mine", "keys": KEYS},
    "migration": {
        "existingSecret": "owner",
        "contract": True,
        "podAnnotations": {"sidecar.istio.io/inject": "false"},
        "podLabels": {"g": "h"},
        "nodeSelector": {"i": "j"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
    },
    "settings": {
        "PANDAPROBE_APP_ENV": "staging",
        "PANDAPROBE_AUTH_ISSUER": "https://id.example.com",
        "PANDAPROBE_AUTH_AUDIENCE": "pandaprobe",
        "PANDAPROBE_AUTH_SIGN_UP": False,
        "PANDAPROBE_EVAL_SERVER_MONTHLY_USD": 12.5,
        "PANDAPROBE_MAX_BODY_BYTES": 20971520,
        "PANDAPROBE_READY_MAX_QUEUE_AGE_SECONDS": None,
        "PANDAPROBE_TRUSTED_PROXIES": ["10.1.0.0/16", "10.2.0.0/16"],
    },
    "api": {
        "tag": "0.0.9",
        "grpc": {"enabled": True},
        "autoscaling": {"enabled": True},
        "podAnnotations": {"a": "b"},
        "podLabels": {"c": "d"},
        "nodeSelector": {"e": "f"},
        "tolerations": [{"operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
    },
    "worker": {
        "autoscaling": {
            "enabled": True,
            "metrics": [
                {
                    "type": "External",
                    "external": {
                        "metric": {"name": "pandaprobe_jobs_oldest_seconds"},
                        "target": {"type": "Value", "value": "60"},
                    },
                }
            ],
        }
    },
    "service": {"annotations": {"a": "b"}},
    "ingress": {
        "enabled": True,
        "className": "nginx",
        "hosts": ["pandaprobe.example.com"],
        "tls": [{"secretName": "tls", "hosts": ["pandaprobe.example.com"]}],
    },
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "networkPolicy": {
        "enabled": True,
        "ingressFrom": [{"namespaceSelector": {}}],
        "metricsFrom": [{"podSelector": {}}],
        "egress": [{"ports": [{"port": 4318}]}],
    },
    "serviceAccount": {"create": False},
    "priorityClassName": "high",
    "topologySpreadConstraints": [
        {"topologyKey": "zone", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule"}
    ],
    "extraVolumes": [{"name": "certificates", "configMap": {"name": "certificates"}}],
    "extraVolumeMounts": [{"name": "certificates", "mountPath": "/etc/certificates"}],
}
OTHER: dict[str, Any] = {
    "image": IMAGE,
    "fullnameOverride": "p",
    "secrets": {"existingSecret": "mine"},
    "migration": {"databaseUrl": "postgresql://owner:c0de@db.example.com/pandaprobe"},
    "networkPolicy": {"enabled": True},
    "serviceAccount": {"annotations": {"iam.example.com/account": "judge"}},
    "api": {"podDisruptionBudget": {"enabled": False}},
}
SETS = {"smallest": SMALLEST, "everything": EVERYTHING, "other": OTHER}


def helm(values: dict[str, Any], *command: str) -> subprocess.CompletedProcess[str]:
    if HELM is None:
        pytest.skip("helm isn't installed: `make helm`")
    return subprocess.run(
        [HELM, *command, str(CHART), "--values", "-"],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        timeout=HELM_MAX_S,
        check=False,
    )


@cache
def rendered(name: str) -> tuple[dict[str, Any], ...]:
    """The objects of a set of values. Skips the test without Helm."""
    done = helm(SETS[name], "template", "prod")
    assert done.returncode == 0, done.stderr
    return tuple(one for one in yaml.safe_load_all(done.stdout) if one)


def refusal(values: dict[str, Any]) -> str:
    done = helm(values, "template", "prod")
    assert done.returncode != 0
    return done.stderr


def pod_of(one: dict[str, Any]) -> dict[str, Any] | None:
    """The pod that an object describes."""
    match one["kind"]:
        case "Pod":
            return one["spec"]
        case "Deployment" | "Job":
            return one["spec"]["template"]["spec"]
    return None


def pods(name: str) -> dict[str, dict[str, Any]]:
    """Pods by the names of their only containers."""
    found = [pod for one in rendered(name) if (pod := pod_of(one))]
    return {pod["containers"][0]["name"]: pod for pod in found}


def named(name: str, kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in rendered(name) if one["kind"] == kind}


def environment(name: str, container: dict[str, Any]) -> dict[str, str]:
    """The variables of a container, also those of its ConfigMap."""
    found: dict[str, str] = {}
    for source in container.get("envFrom", []):
        found |= named(name, "ConfigMap")[source["configMapRef"]["name"]]["data"]
    return found | {one["name"]: one["value"] for one in container["env"]}


class TestWithoutHelm:
    def test_schema_knows_every_setting_without_secrets(self):
        plain = [variable(one) for one in Settings.__struct_fields__ if one not in SECRET]
        wanted = [one for one in plain if one not in OF_CHART]
        assert SCHEMA["definitions"]["setting"]["enum"] == wanted, (
            "definitions.setting.enum of values.schema.json must be " + json.dumps(wanted)
        )

    def test_schema_knows_every_secret_but_that_of_migrate(self):
        wanted = [variable(one) for one in sorted(SECRET) if variable(one) != OWNER]
        assert SCHEMA["definitions"]["secret"]["enum"] == wanted

    def test_default_values_miss_only_the_image(self):
        validator = jsonschema_rs.validator_for(SCHEMA)
        [error] = validator.iter_errors(VALUES)
        assert error.instance_path == ["image", "repository"]

    @pytest.mark.parametrize("name", SETS)
    def test_sets_of_values_are_valid(self, name):
        assert [*jsonschema_rs.validator_for(SCHEMA).iter_errors(SETS[name])] == []

    @pytest.mark.parametrize(
        "values",
        [
            {"settings": {"PANDAPROBE_DATABASE_URL": "postgresql://db"}},
            {"settings": {"PANDAPROBE_PORT": 80}},
            {"settings": {"PANDAPROBE_LOG_LEVLE": "INFO"}},
            {"secrets": {"create": {OWNER: "postgresql://db"}}},
            {"secrets": {"keys": ["PANDAPROBE_LOG_LEVEL"]}},
            {"replicas": 3},
            {"api": {"replica": 3}},
            {"image": {"repository": ""}},
        ],
        ids=str,
    )
    def test_unknown_names_are_refused(self, values):
        assert not jsonschema_rs.is_valid(SCHEMA, {"image": IMAGE} | values)

    @staticmethod
    def names(schema: dict[str, Any], prefix: str = "") -> set[str]:
        found = set()
        for name, inner in schema.get("properties", {}).items():
            found |= TestWithoutHelm.names(inner, f"{prefix}{name}.") or {f"{prefix}{name}"}
        return found

    def test_schema_and_values_have_the_same_names(self):
        def names(values: Any, schema: Any, prefix: str = "") -> set[str]:
            if not isinstance(values, dict) or "properties" not in schema:
                return {prefix.removesuffix(".")}
            return {
                found
                for name, one in values.items()
                for found in names(one, schema["properties"][name], f"{prefix}{name}.")
            }

        assert names(VALUES, SCHEMA) == self.names(SCHEMA) - {"global"}

    @pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
    def test_variables_in_templates_are_settings(self, path):
        known = {variable(one) for one in Settings.__struct_fields__}
        known |= {file_variable(one) for one in SECRET}
        # The comment about Services has one that Kubernetes sets.
        used = set(re.findall(r"PANDAPROBE_[A-Z_]+", path.read_text()))
        assert used <= known

    @pytest.mark.parametrize(
        "path", [*TEMPLATES, CHART / "templates/NOTES.txt"], ids=lambda path: path.name
    )
    def test_values_in_templates_exist(self, path):
        known = self.names(SCHEMA)
        text = path.read_text()
        used = set(re.findall(r"\.Values\.([\w.]+)", text))
        assert {
            one for one in used if not any(f"{name}.".startswith(f"{one}.") for name in known)
            and not one.startswith(("settings.", "secrets.create."))
        } == set()  # fmt: skip

    @pytest.mark.parametrize(
        "path", [*TEMPLATES, CHART / "templates/_helpers.tpl"], ids=lambda path: path.name
    )
    def test_blocks_of_templates_are_closed(self, path):
        words = re.findall(r"\{\{-?\s*(if|range|with|define|end)\b", path.read_text())
        assert words.count("end") * 2 == len(words)

    def test_chart_has_the_version_of_the_application(self):
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert chart["appVersion"] == project["version"]

    def test_container_user_is_that_of_the_image(self):
        dockerfile = (ROOT / "docker/Dockerfile").read_text()
        [*_, user] = re.findall(r"^USER (\d+)$", dockerfile, re.MULTILINE)
        assert VALUES["podSecurityContext"]["runAsUser"] == int(user)

    def test_readme_describes_every_group_of_values(self):
        cells = re.findall(r"^\| (`.*?) \|", README, re.MULTILINE)
        rows = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
        assert rows == {one for one in VALUES if one not in {"nameOverride", "fullnameOverride"}}


@pytest.mark.parametrize("name", SETS)
class TestRendered:
    def test_lint_finds_nothing(self, name):
        done = helm(SETS[name], "lint", "--strict", "--quiet")
        assert done.returncode == 0, done.stdout

    def test_objects_are_valid_for_oldest_and_newest_kubernetes(self, name):
        if not SCHEMAS:
            pytest.skip("Kubernetes' schemas aren't installed: `make helm`")
        [oldest] = re.findall(r'kubeVersion: ">=([\d.]+)-0"', (CHART / "Chart.yaml").read_text())
        folders = [one for one in SCHEMAS if one.name == f"v{oldest}-local-strict"]
        assert folders
        for folder in (*folders, max(SCHEMAS, key=lambda path: int(path.name.split(".")[1]))):
            for one in rendered(name):
                if one["kind"] == "ServiceMonitor":  # not an object of Kubernetes itself
                    continue
                group, _, version = one["apiVersion"].rpartition("/")
                parts = [one["kind"], *([group.split(".")[0]] if group else []), version]
                schema = json.loads((folder / f"{'-'.join(parts)}.json".lower()).read_text())
                validator = jsonschema_rs.validator_for(
                    schema,
                    base_uri="file:///api/object.json",
                    retriever=lambda uri, folder=folder: json.loads(
                        (folder / uri.rpartition("/")[2]).read_text()
                    ),
                )
                assert [*validator.iter_errors(one)] == []

    def test_names_are_unique_and_labelled(self, name):
        keys = [(one["kind"], one["metadata"]["name"]) for one in rendered(name)]
        assert len(set(keys)) == len(keys)
        for one in rendered(name):
            labels = one["metadata"]["labels"]
            assert labels["app.kubernetes.io/instance"] == "prod"
            assert labels["app.kubernetes.io/managed-by"] == "Helm"

    def test_every_container_is_confined(self, name):
        assert set(pods(name)) == {"api", "worker", "migrate", "doctor"}
        for pod in pods(name).values():
            assert pod["securityContext"]["runAsNonRoot"] is True
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert pod["automountServiceAccountToken"] is False
            assert pod["enableServiceLinks"] is False
            for container in pod["containers"]:
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }
                assert {one["mountPath"] for one in container["volumeMounts"]} >= {"/tmp"}

    def test_secrets_are_files_that_exist_and_never_variables(self, name):
        for pod in pods(name).values():
            [container] = pod["containers"]
            variables = environment(name, container)
            assert not {variable(one) for one in SECRET} & variables.keys()
            [volume] = [one for one in pod["volumes"] if one["name"] == "secrets"]
            sources = volume.get("projected", {}).get("sources", [volume])
            files = {
                f"{SECRETS_MOUNT}/{item['path']}"
                for source in sources
                for item in source["secret"]["items"]
            }
            assert files == {value for key, value in variables.items() if key.endswith("_FILE")}

    def test_secrets_that_pods_mount_have_their_keys(self, name):
        made = named(name, "Secret")
        external = {"mine", "owner"}
        for pod in pods(name).values():
            for volume in pod["volumes"]:
                if volume["name"] != "secrets":
                    continue
                for source in volume.get("projected", {}).get("sources", [volume]):
                    secret = source["secret"]
                    which = secret.get("name") or secret["secretName"]
                    if which not in external:
                        keys = made[which]["stringData"].keys()
                        assert {item["key"] for item in secret["items"]} <= keys

    def test_only_migrate_has_the_owner_of_the_tables(self, name):
        for container, pod in pods(name).items():
            has_owner = OWNER in json.dumps(pod)
            assert has_owner == (container == "migrate" and name != "smallest")
        for secret in named(name, "Secret").values():
            if OWNER in secret["stringData"]:
                policy = secret["metadata"]["annotations"]["helm.sh/hook-delete-policy"]
                assert "hook-succeeded" in policy

    def test_hooks_need_nothing_of_the_release(self, name):
        """Hooks run before the release's objects exist."""
        [job] = named(name, "Job").values()
        assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
        pod = job["spec"]["template"]["spec"]
        assert "serviceAccountName" not in pod
        assert "envFrom" not in pod["containers"][0]
        text = json.dumps(pod)
        for secret in named(name, "Secret").values():
            is_hook = "helm.sh/hook" in secret["metadata"].get("annotations", {})
            assert is_hook or f'"{secret["metadata"]["name"]}"' not in text

    def test_every_environment_is_accepted_by_the_settings(self, name, tmp_path):
        contents = {
            "PANDAPROBE_DATABASE_URL": "postgresql://serving:d1f0@db.example.com/pandaprobe",
            "PANDAPROBE_METRICS_TOKEN": "a-token-of-16-characters",
            "PANDAPROBE_REDIS_URL": "rediss://:a9b1@cache.example.com",
            "PANDAPROBE_SECRET_KEYS": f"main:{'A' * 43}=",
            OWNER: "postgresql://owner:c0de@db.example.com/pandaprobe",
        }
        for file, text in contents.items():
            (tmp_path / file).write_text(text)
        checks = (
            provider_problems, default_password_problems, database_url_problems,
            redis_url_problems, missing_extras,
        )  # fmt: skip
        for container, pod in pods(name).items():
            variables = {
                key: value.replace(SECRETS_MOUNT, str(tmp_path))
                for key, value in environment(name, pod["containers"][0]).items()
            }
            known = {variable(one) for one in Settings.__struct_fields__}
            assert variables.keys() <= known | {file_variable(one) for one in SECRET}
            settings = read_settings(variables, *checks)
            assert settings.database_url == contents["PANDAPROBE_DATABASE_URL"]
            assert (settings.migration_database_url is not None) == (OWNER in json.dumps(pod))
            if container == "worker":
                ports = {one["name"]: one["containerPort"] for one in pod["containers"][0]["ports"]}
                assert settings.worker_port == ports["status"]
                assert settings.host == "0.0.0.0"
            if container == "api":
                ports = {one["name"]: one["containerPort"] for one in pod["containers"][0]["ports"]}
                assert (settings.port, settings.otlp_grpc_port) == (
                    ports["http"], ports.get("grpc"),
                )  # fmt: skip

    def test_pods_get_as_long_to_stop_as_the_service_takes(self, name):
        api, worker = (pods(name)[one] for one in ("api", "worker"))
        before = api["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        # docs/operation/operations.md: within 10 s.
        assert api["terminationGracePeriodSeconds"] >= before + max(10, DRAIN_TIMEOUT_S)
        assert worker["terminationGracePeriodSeconds"] >= STOP_TIMEOUT_S + 5

    def test_selectors_select_the_pods_of_their_component(self, name):
        templates = {
            one["metadata"]["name"].rpartition("-")[2]: one["spec"]["template"]["metadata"][
                "labels"
            ]
            for one in named(name, "Deployment").values()
        }
        labels = [*templates.values()]
        for one in rendered(name):
            if one["kind"] not in {"Service", "Deployment", "PodDisruptionBudget"}:
                continue
            selector = one["spec"]["selector"]
            selector = selector.get("matchLabels", selector)
            component = one["metadata"]["labels"]["app.kubernetes.io/component"]
            matching = [pod for pod in labels if selector.items() <= pod.items()]
            assert matching == [templates[component]]

    def test_probes_and_targets_name_ports_of_the_container(self, name):
        for component in ("api", "worker"):
            [container] = pods(name)[component]["containers"]
            ports = {one["name"] for one in container["ports"]}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if probe in container:
                    assert container[probe]["httpGet"]["port"] in ports
            for service in named(name, "Service").values():
                if service["metadata"]["labels"]["app.kubernetes.io/component"] == component:
                    assert {one["targetPort"] for one in service["spec"]["ports"]} <= ports


class TestOptions:
    def test_numbers_are_written_as_settings_read_them(self):
        [settings] = named("everything", "ConfigMap").values()
        assert settings["data"]["PANDAPROBE_MAX_BODY_BYTES"] == "20971520"
        assert settings["data"]["PANDAPROBE_EVAL_SERVER_MONTHLY_USD"] == "12.5"
        assert settings["data"]["PANDAPROBE_AUTH_SIGN_UP"] == "off"
        assert "PANDAPROBE_READY_MAX_QUEUE_AGE_SECONDS" not in settings["data"]

    def test_probes_ask_routes_of_the_service(self):
        [api] = pods("smallest")["api"]["containers"]
        assert api["livenessProbe"]["httpGet"]["path"] == "/health"
        assert api["readinessProbe"]["httpGet"]["path"] == "/health/ready"
        paths = json.loads((ROOT / "docs/openapi.json").read_text())["paths"]
        assert {"/health", "/health/ready"} <= paths.keys()
        [worker] = pods("smallest")["worker"]["containers"]
        assert worker["livenessProbe"]["httpGet"]["path"] == "/health"

    def test_one_component_may_keep_its_tag_during_an_upgrade(self):
        images = {name: pod["containers"][0]["image"] for name, pod in pods("everything").items()}
        assert images["api"] == f"{IMAGE['repository']}:0.0.9"
        assert images["worker"] == images["migrate"] == f"{IMAGE['repository']}@sha256:{'a' * 64}"

    def test_pods_of_hooks_run_where_their_values_say(self):
        [job] = named("everything", "Job").values()
        [doctor] = named("everything", "Pod").values()
        values = EVERYTHING["migration"]
        for pod in (job["spec"]["template"], doctor):
            assert pod["metadata"]["annotations"].items() >= values["podAnnotations"].items()
            assert pod["metadata"]["labels"].items() >= values["podLabels"].items()
            placed = {one: pod["spec"][one] for one in ("nodeSelector", "tolerations", "affinity")}
            assert placed == {one: values[one] for one in placed}

    def test_every_container_has_a_bound_of_memory(self):
        for pod in pods("smallest").values():
            [container] = pod["containers"]
            assert "memory" in container["resources"]["limits"]

    def test_https_is_open_to_public_addresses_of_both_versions(self):
        for name, policy in named("other", "NetworkPolicy").items():
            if name.endswith("-migrate"):
                continue
            [https] = [rule for rule in policy["spec"]["egress"] if rule["ports"][0]["port"] == 443]
            blocks = {one["ipBlock"]["cidr"]: one["ipBlock"]["except"] for one in https["to"]}
            assert "10.0.0.0/8" in blocks["0.0.0.0/0"]
            assert blocks["::/0"] == ["fc00::/7", "fe80::/10"]

    def test_what_is_off_by_default_is_absent(self):
        kinds = {one["kind"] for one in rendered("smallest")}
        assert not kinds & {
            *("Ingress", "ServiceMonitor", "NetworkPolicy", "HorizontalPodAutoscaler"),
        }
        every = {one["kind"] for one in rendered("everything")}
        assert every >= {"Ingress", "ServiceMonitor", "NetworkPolicy", "HorizontalPodAutoscaler"}

    def test_commands_are_those_of_the_command_line(self):
        parser = main_module._parser
        commands = [
            parser.parse_args(pod["containers"][0]["args"]).command.__name__
            for pod in pods("everything").values()
        ]
        assert set(commands) == {"_serve", "_worker", "_migrate", "_doctor"}
        contract = pods("everything")["migrate"]["containers"][0]["args"]
        assert contract == ["migrate", "--contract"]

    def test_settings_change_the_pods(self):
        def checksums(values: dict[str, Any]) -> set[str]:
            done = helm(values, "template", "prod")
            return set(re.findall(r"checksum/\w+: (\w+)", done.stdout))

        before = checksums(SMALLEST)
        other_setting = checksums(SMALLEST | {"settings": {"PANDAPROBE_LOG_LEVEL": "DEBUG"}})
        assert len(before) == 2
        assert len(before & other_setting) == 1

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"image": IMAGE}, "PANDAPROBE_DATABASE_URL is missing"),
            (SMALLEST | {"serviceMonitor": {"enabled": True}}, "PANDAPROBE_METRICS_TOKEN"),
            (SMALLEST | {"ingress": {"enabled": True}}, "ingress.hosts is empty"),
            (
                SMALLEST | {"secrets": SMALLEST["secrets"] | {"existingSecret": "mine"}},
                "not both",
            ),
            (
                SMALLEST
                | {"migration": {"existingSecret": "a", "databaseUrl": "postgresql://b@c/d"}},
                "not both",
            ),
            (SMALLEST | {"settings": {"PANDAPROBE_LOG_LEVLE": "INFO"}}, "PANDAPROBE_LOG_LEVLE"),
        ],
        ids=["secrets", "monitor", "ingress", "two secrets", "two owners", "unknown setting"],
    )
    def test_refusals_name_what_is_wrong(self, values, message):
        assert message in refusal(values)

    def test_notes_warn_about_what_is_missing(self):
        done = helm(SMALLEST, "install", "prod", "--dry-run=client", "--namespace", "traces")
        notes = done.stdout.partition("NOTES:")[2]
        assert "helm test prod --namespace traces" in notes
        assert "people can't sign in" in notes
        assert "gets up to 40 connections" in notes
        everything = helm(EVERYTHING, "install", "prod", "--dry-run=client").stdout
        assert "people can't sign in" not in everything
        assert "https://pandaprobe.example.com/app/" in everything
