"""The ASGI application."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from litestar import Litestar
from litestar.datastructures import State
from litestar.types import ASGIApp

from application.use_cases import UseCases
from domain.evaluation.runs.run import TargetType
from entrypoints.http.config import CONTEXT_KEY, HttpConfig, HttpContext
from entrypoints.http.controllers.cli_login.cli_login import CliLoginController
from entrypoints.http.controllers.cli_login.page import cli_login_pages
from entrypoints.http.controllers.costs.usage import UsageController
from entrypoints.http.controllers.erasures.erasures import ErasureController
from entrypoints.http.controllers.exports.files import ExportFileController
from entrypoints.http.controllers.exports.stream import TraceExportController
from entrypoints.http.controllers.metrics.catalogue import EvaluationCatalogueController
from entrypoints.http.controllers.metrics.custom_metrics import CustomMetricController
from entrypoints.http.controllers.monitors.alerts import AlertController
from entrypoints.http.controllers.monitors.monitors import MonitorController
from entrypoints.http.controllers.monitors.webhooks import WebhookController
from entrypoints.http.controllers.organizations.api_keys import ApiKeyController
from entrypoints.http.controllers.organizations.audit_log import AuditLogController
from entrypoints.http.controllers.organizations.invitations import InvitationController
from entrypoints.http.controllers.organizations.me import MeController
from entrypoints.http.controllers.organizations.members import MemberController
from entrypoints.http.controllers.organizations.organizations import OrganizationController
from entrypoints.http.controllers.organizations.projects import ProjectController
from entrypoints.http.controllers.pricing.model_prices import ModelPriceController
from entrypoints.http.controllers.pricing.repricing import RepricingController
from entrypoints.http.controllers.pricing.trace_prices import TracePriceController
from entrypoints.http.controllers.runs.runs import SESSION_RUNS, TRACE_RUNS, run_router
from entrypoints.http.controllers.scores.agreement import AgreementController
from entrypoints.http.controllers.scores.analytics import (
    SessionScoreAnalyticsController,
    score_analytics_router,
)
from entrypoints.http.controllers.scores.scores import SessionScoreController, TraceScoreController
from entrypoints.http.controllers.service.api_reference import reference_pages
from entrypoints.http.controllers.service.health import ServiceController
from entrypoints.http.controllers.service.prometheus import metrics_pages
from entrypoints.http.controllers.sessions.sessions import SessionController
from entrypoints.http.controllers.traces.analytics import AnalyticsController
from entrypoints.http.controllers.traces.traces import TraceController
from entrypoints.http.endpoint import DEPENDENCIES, admit
from entrypoints.http.error_responses import exception_handlers
from entrypoints.http.middleware.access_log import AccessLog
from entrypoints.http.middleware.cors import Cors
from entrypoints.http.middleware.load_shedding import LoadShedding
from entrypoints.http.middleware.path_segments import PathSegments
from entrypoints.http.middleware.rate_limits import RateLimitHeaders, RateLimits
from entrypoints.http.middleware.request_ids import RequestIds
from entrypoints.http.middleware.security_headers import SecurityHeaders
from entrypoints.http.middleware.tracing import RequestTracing
from entrypoints.http.openapi.document import document
from entrypoints.http.responses import JsonResponse

CONTROLLERS: Final = (
    TraceController,
    TraceExportController,
    ExportFileController,
    TracePriceController,
    ModelPriceController,
    RepricingController,
    AnalyticsController,
    SessionController,
    ErasureController,
    EvaluationCatalogueController,
    CustomMetricController,
    run_router(TRACE_RUNS),
    run_router(SESSION_RUNS),
    TraceScoreController,
    SessionScoreController,
    score_analytics_router(TargetType.TRACE),
    score_analytics_router(TargetType.SESSION),
    SessionScoreAnalyticsController,
    AgreementController,
    MonitorController,
    AlertController,
    WebhookController,
    MeController,
    OrganizationController,
    MemberController,
    InvitationController,
    ProjectController,
    UsageController,
    ApiKeyController,
    AuditLogController,
    CliLoginController,
    ServiceController,
)

type Hook = Callable[[], Awaitable[None]]


def create_app(
    use_cases: UseCases,
    config: HttpConfig,
    rate_limits: RateLimits,
    on_startup: Sequence[Hook] = (),
    on_shutdown: Sequence[Hook] = (),
) -> ASGIApp:
    """The service over HTTP. The hooks run in the server's event loop, before and after serving."""
    app = Litestar(
        route_handlers=CONTROLLERS,
        guards=[admit],
        dependencies=DEPENDENCIES,
        response_class=JsonResponse,
        exception_handlers=exception_handlers(),
        on_startup=list(on_startup),
        on_shutdown=list(on_shutdown),
        state=State({CONTEXT_KEY: HttpContext(use_cases, config, rate_limits)}),
        openapi_config=None,  # our document, below, includes bodies that Litestar doesn't parse
        logging_config=None,  # the process configures logging; nothing here may log a body
        request_max_body_size=None,  # `body_io` bounds bodies, also decompressed
    )
    pages = (*reference_pages(document(app, config)), *cli_login_pages(config))
    for route in (*pages, *metrics_pages(config)):
        app.register(route)
    layers: ASGIApp = PathSegments(RateLimitHeaders(app))
    layers = LoadShedding(layers, refusal_delay_s=config.refusal_delay_s)
    layers = SecurityHeaders(Cors(layers, config.allowed_origins))
    layers = AccessLog(layers, config.observer)
    return RequestIds(RequestTracing(layers, config.tracer))
