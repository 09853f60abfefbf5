"""Settings, their documentation and .env.example agree."""

import re
from pathlib import Path

from entrypoints.settings import SECRET, Settings, read_settings, variable
from tests.support.problems import for_each

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/operation/settings.md").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
FIELDS = Settings.__struct_fields__
VARIABLES = {variable(field) for field in FIELDS}

# Variables with our prefix that SDKs and the CLI read (contract, section 11).
SDK_VARIABLES = {
    f"PANDAPROBE_{name}"
    for name in (
        "API_KEY PROJECT_NAME ENDPOINT ENVIRONMENT RELEASE ENABLED DEBUG TIMEOUT BATCH_SIZE "
        "FLUSH_INTERVAL MAX_QUEUE_SIZE AUTH_URL BASE_URL FORMAT CONFIG VERSION INSTALL_DIR"
    ).split()
}


@for_each(FIELDS)
def test_every_setting_is_a_row_of_the_page(field):
    assert re.search(rf"^\| `{variable(field)}` \|[^|]+\|[^|]{{10,}}\|$", PAGE, re.MULTILINE)


def test_every_row_of_page_is_a_setting():
    assert set(re.findall(r"^\| `(PANDAPROBE_\w+)`", PAGE, re.MULTILINE)) == VARIABLES


def test_example_has_exactly_all_settings():
    assert len(re.findall(r"PANDAPROBE_\w+=", EXAMPLE)) == len(FIELDS)
    assert set(re.findall(r"^#(PANDAPROBE_\w+)=", EXAMPLE, re.MULTILINE)) == VARIABLES


def test_values_of_example_are_defaults():
    example = dict(re.findall(r"^#(PANDAPROBE_\w+)=(.*)$", EXAMPLE, re.MULTILINE))
    assert read_settings(example) == Settings()


@for_each(FIELDS)
def test_page_states_default(field):
    default = getattr(Settings(), field)
    spelled = {None: "none", (): "none", "True": "on", "False": "off"}
    text = spelled.get(default if default in {None, ()} else str(default), str(default))
    row = re.search(rf"^\| `{variable(field)}` \|([^|]+)\|", PAGE, re.MULTILINE)
    assert row
    assert row[1].strip().replace("`", "").split(";")[0] == text


def test_settings_do_not_use_names_of_sdk():
    assert not VARIABLES & SDK_VARIABLES


# URLs that hold no secret: of public keys, and of a collector and a storage whose credentials are
# headers.
PUBLIC_URLS = {
    "s3_endpoint",
    "auth_jwks_url",
    "supabase_url",
    "otel_exporter_otlp_endpoint",
    "public_url",
    "mcp_public_url",
}


def test_every_setting_that_may_hold_a_secret_is_hidden_and_can_come_from_a_file():
    ends = ("_url", "_key", "_keys", "_secret", "_token", "_password", "_headers", "_endpoint")
    assert {field for field in FIELDS if field.endswith(ends)} - PUBLIC_URLS == SECRET


def test_page_lists_settings_that_can_come_from_file():
    [names] = re.findall(r"These settings are:\s(.*?)\.\n\n", PAGE, re.DOTALL)
    assert re.findall(r"`(\w+)`", names) == [field.upper() for field in sorted(SECRET)]
