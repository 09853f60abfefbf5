"""The ASGI application."""

from functools import partial
from typing import Final, override

from litestar import Controller, Litestar, Router
from litestar.plugins import PluginProtocol
from litestar.plugins.core import MsgspecDIPlugin
from litestar.types import ASGIApp

from application.use_cases import UseCases
from domain.evaluation.scores.score import ScoreTarget
from entrypoints.http.config import HttpConfig, HttpContext, RequestContext
from entrypoints.http.controllers.alerts import alerts, webhooks
from entrypoints.http.controllers.browser_sessions import browser_sessions, provider_pages
from entrypoints.http.controllers.cli_login import cli_login, page
from entrypoints.http.controllers.costs import usage
from entrypoints.http.controllers.dashboard.pages import dashboard_pages
from entrypoints.http.controllers.datasets import datasets
from entrypoints.http.controllers.erasures import erasures
from entrypoints.http.controllers.experiments import experiments, groups
from entrypoints.http.controllers.exports import files, stream
from entrypoints.http.controllers.metrics import catalogue, custom_metrics
from entrypoints.http.controllers.monitors import monitors
from entrypoints.http.controllers.organizations import (
    access,
    api_keys,
    audit_log,
    invitations,
    me,
    members,
    organizations,
    projects,
)
from entrypoints.http.controllers.otlp import otlp, rejections
from entrypoints.http.controllers.pricing import model_prices, repricing, trace_prices
from entrypoints.http.controllers.runs import runs
from entrypoints.http.controllers.scores import agreement, scores
from entrypoints.http.controllers.scores import analytics as score_analytics
from entrypoints.http.controllers.service import api_reference, health, prometheus
from entrypoints.http.controllers.sessions import sessions
from entrypoints.http.controllers.sharing import shared_trace, trace_links
from entrypoints.http.controllers.spans import analytics as span_analytics
from entrypoints.http.controllers.spans import errors, spans
from entrypoints.http.controllers.traces import analytics, comparison, parts, payloads, traces
from entrypoints.http.endpoint import admit
from entrypoints.http.error_responses import exception_handlers
from entrypoints.http.middleware.access_log import AccessLog
from entrypoints.http.middleware.cors import Cors
from entrypoints.http.middleware.load_shedding import LoadShedding
from entrypoints.http.middleware.options import Options
from entrypoints.http.middleware.otlp_errors import PREFIXES, OtlpErrors
from entrypoints.http.middleware.path_segments import PathSegments
from entrypoints.http.middleware.rate_limits import RateLimits
from entrypoints.http.middleware.response_headers import ResponseHeaders
from entrypoints.http.middleware.tracing import RequestTracing
from entrypoints.http.openapi.document import document
from entrypoints.http.responses import JsonResponse

CONTROLLERS: Final[tuple[type[Controller] | Router, ...]] = (
    traces.TraceController,
    parts.TracePartController,
    comparison.TraceComparisonController,
    payloads.payload_router(),
    stream.TraceExportController,
    files.ExportFileController,
    files.DownloadController,
    trace_links.SharingController,
    trace_links.TraceLinkController,
    shared_trace.SharedTraceController,
    trace_prices.TracePriceController,
    model_prices.ModelPriceController,
    repricing.RepricingController,
    analytics.AnalyticsController,
    *(otlp.otlp_router(prefix) for prefix in PREFIXES),
    rejections.RejectionController,
    spans.SpanController,
    errors.ErrorController,
    span_analytics.SpanAnalyticsController,
    sessions.SessionController,
    erasures.ErasureController,
    catalogue.EvaluationCatalogueController,
    custom_metrics.CustomMetricController,
    runs.run_router(runs.TRACE_RUNS),
    runs.run_router(runs.SESSION_RUNS),
    scores.TraceScoreController,
    scores.SessionScoreController,
    score_analytics.score_analytics_router(ScoreTarget.TRACE),
    score_analytics.score_analytics_router(ScoreTarget.SPAN),
    score_analytics.score_analytics_router(ScoreTarget.SESSION),
    score_analytics.SessionScoreAnalyticsController,
    agreement.AgreementController,
    datasets.DatasetController,
    experiments.ExperimentController,
    groups.TraceGroupController,
    monitors.MonitorController,
    alerts.AlertController,
    alerts.ProjectAlertController,
    webhooks.WebhookController,
    me.MeController,
    access.AccessController,
    organizations.OrganizationController,
    members.MemberController,
    invitations.InvitationController,
    projects.ProjectController,
    usage.UsageController,
    api_keys.ApiKeyController,
    audit_log.AuditLogController,
    browser_sessions.SignInController,
    browser_sessions.MySessionController,
    cli_login.CliLoginController,
    health.ServiceController,
)


def create_app(use_cases: UseCases, config: HttpConfig, rate_limits: RateLimits) -> ASGIApp:
    """The service over HTTP, for HTTP scopes only: no layer checks the type of a scope."""
    return add_layers(create_routes(config), HttpContext(use_cases, config, rate_limits))


class _Routes(Litestar):
    """Litestar without its support of pydantic and attrs.

    Litestar loads both wherever they are installed: 9 MB, and a twentieth of a second of each
    start, for types that no handler here has.
    """

    @staticmethod
    @override
    def _get_default_plugins(plugins: list[PluginProtocol]) -> list[PluginProtocol]:
        return [*plugins, MsgspecDIPlugin()]


def create_routes(config: HttpConfig) -> Litestar:
    """All routes, which takes a tenth of a second. They get their HttpContext with each request."""
    app = _Routes(
        route_handlers=CONTROLLERS,
        guards=[admit],
        response_class=JsonResponse,
        exception_handlers=exception_handlers(),
        openapi_config=None,  # our document, below, includes bodies that Litestar doesn't parse
        logging_config=None,  # the process configures logging; nothing here may log a body
        request_max_body_size=None,  # `body_io` bounds bodies, also decompressed
    )
    for route in (
        *api_reference.reference_pages(config.version, partial(document, app, config)),
        *page.cli_login_pages(config),
        *provider_pages.PAGES,
        *prometheus.metrics_pages(config),
        *(dashboard_pages(config) if config.dashboard else ()),
    ):
        app.register(route)
    return app


def add_layers(routes: ASGIApp, context: HttpContext) -> ASGIApp:
    config = context.config
    layers: ASGIApp = Options(PathSegments(RequestContext(routes, context)))
    layers = LoadShedding(layers, refusal_delay_s=config.refusal_delay_s)
    layers = OtlpErrors(layers, context.use_cases.tracing.otlp_codec.encode_error)
    layers = AccessLog(Cors(layers, config.allowed_origins), config.observer)
    return ResponseHeaders(RequestTracing(layers, config.tracer))
