/** Actions that the audit log is filtered by. Others can be typed. */
import type { AuditAction } from "../../api/types.d.ts";

// prettier-ignore
export const ACTIONS: readonly AuditAction[] = [
  "alert.changed", "alert.created", "alert.deleted", "api_key.created", "api_key.deleted", "api_key.revoked", "api_key.rotated", "api_key.used",
  "browser_session.ended", "browser_session.started", "dataset.changed", "dataset.created", "dataset.deleted", "dataset.exported",
  "dataset.item_deleted", "erasure.finished", "erasure.requested", "experiment.closed", "experiment.created", "experiment.deleted", "export.deleted",
  "export.downloaded", "export.link_created", "export.requested", "export.streamed", "invitation.accepted", "invitation.created",
  "invitation.declined", "invitation.revoked", "login_code.issued", "member.left", "member.removed", "member.role_changed", "model_price.created",
  "model_price.deleted", "monitor.changed", "monitor.created", "monitor.deleted", "monitor.paused", "monitor.resumed", "organization.created",
  "organization.deleted", "organization.limits_changed", "organization.renamed", "organization.sharing_changed", "project.budget_changed",
  "project.changed", "project.created", "project.deleted", "project.retention_changed", "repricing.started", "run.deleted", "score.changed",
  "score.deleted", "session.deleted", "trace.batch_deleted", "trace.deleted", "trace.imported", "trace_link.created", "trace_link.deleted",
  "webhook.created", "webhook.deleted",
];
