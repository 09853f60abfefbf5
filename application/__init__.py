"""The use cases of the product, over ports. Imports the standard library and `domain` only.

A use case is a frozen dataclass whose fields are its ports and whose call is its one verb. It
checks, computes, combines ports, or writes to the audit log. An operation that only calls a port
needs no use case: the registry (`use_cases.py`) holds the port, and an HTTP handler calls it, as in
`use_cases.tracing.traces.get(project, trace)`.

No use case calls another. Logic that several use cases share is in services: objects that a use
case holds as a field, such as `OrganizationEditor`, `RunFactory`, `MonitorRunFactory`,
`RunRules` and `MetricCatalogue`. A service may use ports and other services, never a use case.

Each context has its ports (`ports.py`, or the package `ports`): what it needs from the world,
with the errors and limits that belong to a port. Adapters import nothing else from `application`.
"""
