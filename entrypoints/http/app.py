"""The ASGI application."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from litestar import Litestar
from litestar.datastructures import State
from litestar.types import ASGIApp

from application.use_cases import UseCases
from entrypoints.http.config import Edge, HttpConfig
from entrypoints.http.controllers.agreement import AgreementController
from entrypoints.http.controllers.alerts import AlertController
from entrypoints.http.controllers.analytics import AnalyticsController
from entrypoints.http.controllers.api_keys import ApiKeyController
from entrypoints.http.controllers.audit_log import AuditLogController
from entrypoints.http.controllers.cli_login import CliLoginController
from entrypoints.http.controllers.cli_login_page import cli_login_pages
from entrypoints.http.controllers.custom_metrics import CustomMetricController
from entrypoints.http.controllers.erasures import ErasureController
from entrypoints.http.controllers.evaluation_catalogue import EvaluationCatalogueController
from entrypoints.http.controllers.export_files import ExportFileController
from entrypoints.http.controllers.invitations import InvitationController
from entrypoints.http.controllers.me import MeController
from entrypoints.http.controllers.members import MemberController
from entrypoints.http.controllers.metrics import metrics_pages
from entrypoints.http.controllers.model_prices import ModelPriceController
from entrypoints.http.controllers.monitors import MonitorController
from entrypoints.http.controllers.organizations import OrganizationController
from entrypoints.http.controllers.projects import ProjectController
from entrypoints.http.controllers.public import PublicController
from entrypoints.http.controllers.reference_pages import reference_pages
from entrypoints.http.controllers.score_figures import ScoreFigureController
from entrypoints.http.controllers.session_runs import SessionRunController
from entrypoints.http.controllers.session_scores import SessionScoreController
from entrypoints.http.controllers.sessions import SessionController
from entrypoints.http.controllers.spending import SpendingController
from entrypoints.http.controllers.trace_changes import TraceChangeController
from entrypoints.http.controllers.trace_exports import TraceExportController
from entrypoints.http.controllers.trace_lists import TraceListController
from entrypoints.http.controllers.trace_prices import TracePriceController
from entrypoints.http.controllers.trace_runs import TraceRunController
from entrypoints.http.controllers.trace_scores import TraceScoreController
from entrypoints.http.controllers.traces import TraceController
from entrypoints.http.controllers.webhooks import WebhookController
from entrypoints.http.cors import Cors
from entrypoints.http.limits import RateLimitHeaders, RateLimits
from entrypoints.http.openapi import document
from entrypoints.http.operation import EDGE
from entrypoints.http.overload import Overload
from entrypoints.http.paths import PathSegments
from entrypoints.http.problems import exception_handlers
from entrypoints.http.request_ids import RequestIds
from entrypoints.http.request_lines import RequestLines
from entrypoints.http.security import SecurityHeaders
from entrypoints.http.traced import Traced


class Traces(TraceController, TraceListController, TraceChangeController, TraceExportController):
    """All of /traces: Litestar can't serve one path's methods from several controllers."""


CONTROLLERS: Final = (
    Traces,
    ExportFileController,
    TracePriceController,
    ModelPriceController,
    AnalyticsController,
    SessionController,
    ErasureController,
    EvaluationCatalogueController,
    CustomMetricController,
    TraceRunController,
    SessionRunController,
    TraceScoreController,
    SessionScoreController,
    ScoreFigureController,
    AgreementController,
    MonitorController,
    AlertController,
    WebhookController,
    MeController,
    OrganizationController,
    MemberController,
    InvitationController,
    ProjectController,
    SpendingController,
    ApiKeyController,
    AuditLogController,
    CliLoginController,
    PublicController,
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
        exception_handlers=exception_handlers(),
        on_startup=list(on_startup),
        on_shutdown=list(on_shutdown),
        state=State({EDGE: Edge(use_cases, config, rate_limits)}),
        openapi_config=None,  # ours, below, knows bodies that Litestar doesn't read
        logging_config=None,  # the process decides; and nothing here may log a body
        request_max_body_size=None,  # `transfer` bounds what it reads, inflated too
    )
    pages = (*reference_pages(document(app, config)), *cli_login_pages(config))
    for route in (*pages, *metrics_pages(config)):
        app.register(route)
    bounded = Overload(PathSegments(RateLimitHeaders(app)), held_s=config.refusals_held_s)
    secured = SecurityHeaders(Cors(bounded, config.allowed_origins))
    return RequestIds(Traced(RequestLines(secured, config.watch), config.tracer))
