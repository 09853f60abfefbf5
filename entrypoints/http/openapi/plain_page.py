"""The API reference to read: one page of HTML made of the OpenAPI document, and nothing to run."""

import json
from collections.abc import Iterator
from html import escape
from typing import Any, Final

PLAIN_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { margin: 0 auto; max-width: 60rem; padding: 1rem 1.5rem 4rem; }
code, pre { font: 0.875rem/1.45 ui-monospace, monospace; }
pre { overflow-x: auto; padding: 0.75rem; border: 1px solid #8885; border-radius: 6px; }
section { border-top: 1px solid #8885; margin-top: 2rem; padding-top: 0.5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid #8883; padding: 0.25rem 0.75rem 0.25rem 0; text-align: left;
  vertical-align: top; }
.method { display: inline-block; min-width: 4rem; font-weight: 600; }
nav a { display: block; text-decoration: none; }
"""


def page(document: dict[str, Any]) -> bytes:
    """The whole page, for `document` as `openapi.document` makes it."""
    info = document["info"]
    operations = [
        (method.upper(), path, told)
        for path, methods in document["paths"].items()
        for method, told in methods.items()
    ]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>",
        f"<p>{escape(info['description'])}</p>",
        '<p>To try calls: <a href="/docs">/docs</a></p>',
        '<p>For programs: <a href="/openapi.json">/openapi.json</a></p><nav>',
        *(
            f'<a href="#{told["operationId"]}">{_call(method, path)} {escape(told["summary"])}</a>'
            for method, path, told in operations
        ),
        "</nav>",
    ]
    headers = _headers(document)
    for method, path, told in operations:
        parts += _operation(method, path, told, headers)
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts += _schema(name, schema)
    parts.append("</body></html>")
    return "\n".join(parts).encode()


def _call(method: str, path: str) -> str:
    return f'<code><span class="method">{method}</span>{escape(path)}</code>'


def _headers(document: dict[str, Any]) -> dict[str, str]:
    """The header of each security scheme."""
    schemes = document["components"]["securitySchemes"]
    return {name: one.get("name", "Authorization: Bearer") for name, one in schemes.items()}


def _told(parameter: dict[str, Any]) -> str:
    """What is to be known of a parameter beside its type."""
    default = parameter["schema"].get("default")
    said = [
        "required" if parameter["required"] else "",
        parameter.get("description", "").replace("`", ""),
        f"default: {default}" if default is not None and default != "" else "",
    ]
    return "; ".join(part for part in said if part)


def _operation(
    method: str, path: str, told: dict[str, Any], headers: dict[str, str]
) -> Iterator[str]:
    yield f'<section id="{told["operationId"]}"><h2>{escape(told["summary"])}</h2>'
    yield f"<p>{_call(method, path)}</p><p>{escape(told['description'])}</p>"
    ways = [" + ".join(headers[scheme] for scheme in way) for way in told["security"]]
    yield f"<p>Credentials: {escape('; or '.join(ways) or 'none')}</p>"
    if told["parameters"]:
        yield "<table><tr><th>Parameter</th><th>In</th><th>Type</th><th></th></tr>"
        for one in told["parameters"]:
            yield (
                f"<tr><td><code>{escape(one['name'])}</code></td><td>{one['in']}</td>"
                f"<td>{_type(one['schema'])}</td><td>{escape(_told(one))}</td></tr>"
            )
        yield "</table>"
    if (body := told.get("requestBody")) is not None:
        media = next(iter(body["content"].values()))
        yield f"<h3>Body</h3><p>{_type(media['schema'])}</p>{_example(media)}"
    for status, answer in told["responses"].items():
        media = next(iter(answer.get("content", {}).values()), None)
        yield f"<h3>{status}</h3><p>{escape(answer['description'])}"
        if media is not None:
            yield f": {_type(media['schema'])}"
        yield "</p>"
        if media is not None and int(status) < 300:  # noqa: PLR2004 - errors all look alike
            yield _example(media)
    yield "</section>"


def _example(media: dict[str, Any]) -> str:
    if media.get("example") is None:
        return ""
    return f"<pre>{escape(json.dumps(media['example'], indent=2))}</pre>"


def _schema(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f'<section id="schema-{escape(name)}"><h2><code>{escape(name)}</code></h2>'
    yield f"<p>{escape(schema.get('description', ''))}</p>"
    if "properties" not in schema:
        yield f"<p>{_type(schema)}</p></section>"
        return
    yield "<table><tr><th>Field</th><th>Type</th><th></th></tr>"
    required = schema.get("required", ())
    for field, told in schema["properties"].items():
        yield (
            f"<tr><td><code>{escape(field)}</code></td><td>{_type(told)}</td>"
            f"<td>{'required' if field in required else ''} "
            f"{escape(told.get('description', ''))}</td></tr>"
        )
    yield "</table></section>"


def _type(schema: dict[str, Any]) -> str:
    """A type in a few words of HTML, with a link to the schema that it names."""
    if (ref := schema.get("$ref")) is not None:
        name = escape(ref.rpartition("/")[2])
        return f'<a href="#schema-{name}"><code>{name}</code></a>'
    if (variants := schema.get("anyOf")) is not None:
        return " or ".join(_type(one) for one in variants)
    if "enum" in schema:
        return ", ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
    kind = schema.get("type", "any JSON")
    said = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if said == "array":
        said = f"array of {_type(schema.get('items', {}))}"
    bounds = {"format": "", "minimum": "≥ ", "maximum": "≤ ", "maxLength": "≤ ", "maxItems": "≤ "}
    limits = [f"{sign}{schema[name]}" for name, sign in bounds.items() if name in schema]
    return f"{said} ({', '.join(limits)})" if limits else said
