"""The promises of evaluation, and the tests that verify each.

The order is fixed: "No. 11" in the docstring of a test means the eleventh promise.
"""

import re
from pathlib import Path
from typing import Final

from tests.support.problems import for_each

TESTS: Final = Path(__file__).parents[1]

PROMISES: Final = {
    "session metrics, loops, tool calls, vectors, samples and score ids match known values": (
        "domain/evaluation/sessions/test_reliability_v1.py::test_golden_values",
        "domain/evaluation/metrics/test_similarity.py::test_loop_detection_matches_golden_values",
        "domain/evaluation/metrics/test_computed_metrics.py::test_tool_loop",
        "domain/evaluation/trace_content/test_text.py::test_hashed_vector_matches_golden_feature",
        "domain/evaluation/trace_content/test_text.py::test_cosines_match_golden_values",
        "domain/evaluation/runs/test_selection.py::test_sampling_rank_matches_golden_value",
        "domain/evaluation/runs/test_run.py::test_score_id_derives_from_run_target_and_metric",
    ),
    "a session gets no score if all signals failed or were skipped, or the judge is unavailable": (
        "domain/evaluation/sessions/test_reliability_v1.py::test_score_is_absent_without_scored_signals",
        (
            "application/evaluation/execution/test_evaluate_sessions.py"
            "::test_session_without_signals_gets_no_score"
        ),
        (
            "application/evaluation/execution/test_evaluate_sessions.py"
            "::test_unavailable_judge_leaves_session_without_score"
        ),
    ),
    "a metric without data is skipped, and the code says what is missing": (
        "domain/evaluation/metrics/test_computed_metrics.py::test_metrics_without_data_are_skipped_with_code",
        "domain/evaluation/metrics/test_judged_metrics.py::test_prechecks_skip_with_code",
        "domain/evaluation/metrics/test_similarity.py::test_loop_detection_without_outputs_is_skipped",
        "domain/evaluation/metrics/test_similarity.py::test_coherence_without_text_is_skipped",
    ),
    "raising a risk never raises a session's score": (
        "domain/evaluation/sessions/test_reliability_v1.py::test_raising_any_risk_never_raises_a_session_score",
        "domain/evaluation/sessions/test_reliability_v2.py::test_raising_any_risk_never_raises_a_session_score",
    ),
    "one more perfect trace raises a score by at most the known step, in version 2 below 0.12": (
        "domain/evaluation/sessions/test_reliability_v1.py::test_one_failed_trace_among_perfect_ones_in_version_1",
        (
            "domain/evaluation/sessions/test_reliability_v1.py"
            "::test_perfect_trace_raises_reliability_by_at_most_one_step"
        ),
        "domain/evaluation/sessions/test_reliability_v2.py::test_one_failed_trace_among_perfect_ones",
        (
            "domain/evaluation/sessions/test_reliability_v2.py"
            "::test_perfect_trace_raises_reliability_by_less_than_012"
        ),
    ),
    "a person's score is not used as a signal": (
        "application/evaluation/execution/test_evaluate_sessions.py::test_score_by_person_is_not_used_as_signal",
        "contracts/evaluation/work_queue/test_work_queue.py::test_scores_without_run_or_key_are_not_signals",
    ),
    "a score of another project, fingerprint or evidence, or one that failed, is not used again": (
        (
            "contracts/evaluation/work_queue/test_work_queue.py"
            "::test_newest_signal_of_each_name_with_same_key_is_reused"
        ),
        "application/evaluation/execution/test_evaluate_sessions.py::test_signals_of_another_project_are_not_reused",
        (
            "application/evaluation/execution/test_evaluate_sessions.py"
            "::test_signals_with_other_fingerprint_are_evaluated_again"
        ),
        (
            "application/evaluation/execution/test_evaluate_sessions.py"
            "::test_only_changed_trace_is_evaluated_again"
        ),
    ),
    "a threshold of 0 is valid": (
        "domain/evaluation/metrics/test_registry.py::test_threshold_is_inclusive_and_may_be_0",
    ),
    "an unchanged trace causes no question, changed content causes one": (
        "application/evaluation/judging/test_judge_client.py::test_same_content_in_another_trace_is_answered_from_cache",
        "application/evaluation/judging/test_judge_client.py::test_changed_content_is_judged_once",
    ),
    "a refused key costs one request per provider and run": (
        (
            "adapters/judges/test_model_judge_in_runs.py::test_terminal_refusal_costs_one_request_per_run"
        ),
    ),
    "retries respect Retry-After, and short outages are retried": (
        "application/evaluation/judging/test_retry.py::test_429_with_retry_after_7_is_retried_after_7_seconds",
        (
            "application/evaluation/judging/test_retry.py"
            "::test_answer_after_two_503_takes_three_attempts"
        ),
    ),
    "an invalid verdict is repaired once": (
        "adapters/judges/test_model_judge.py::test_invalid_verdict_is_repaired_once",
    ),
    "tool output cannot give instructions to the judge": (
        "domain/evaluation/judging/test_prompt.py::test_trace_text_cannot_change_the_prompt",
        "domain/evaluation/judging/test_verdict.py::test_label_elsewhere_is_ignored",
        "domain/evaluation/evidence/test_evidence.py::test_boundary_changes_only_two_lines",
        "contracts/evaluation/judging/test_judge.py::test_tool_output_cannot_set_grade",
        (
            "adapters/judges/test_model_judge.py::test_tool_output_stays_within_boundary_and_gives_no_label"
        ),
    ),
    "every property of an answer is required, and objects allow no others": (
        "domain/evaluation/judging/test_prompt.py::test_answer_schema_is_strict",
    ),
    "prompts contain no secret, no address and no user": (
        "domain/evaluation/judging/test_prompt.py::test_prompt_contains_no_sensitive_data",
        "domain/evaluation/evidence/test_redaction.py::test_secrets_are_redacted_in_every_text",
        "application/evaluation/execution/test_evaluate_traces.py::test_secrets_are_redacted_for_judge_embedder_and_score",
    ),
    "evidence fits its budget, and its hash depends only on content": (
        "domain/evaluation/evidence/test_evidence.py::test_evidence_of_any_trace_fits_its_budget",
        "domain/evaluation/evidence/test_evidence.py::test_tools_and_plan_leave_room_for_steps",
        "domain/evaluation/evidence/test_evidence.py::test_steps_are_omitted_from_the_middle_except_failed_ones",
        "domain/evaluation/evidence/test_evidence.py::test_evidence_hash_ignores_ids_and_instants",
        "domain/evaluation/evidence/test_evidence.py::test_evidence_hash_ignores_key_order",
    ),
    "cycles, orphans and 20,000 spans take bounded time": (
        "domain/tracing/spans/test_span_tree.py::test_orphans_are_roots_and_cycles_are_cut_at_their_earliest_span",
        "domain/evaluation/evidence/test_evidence.py::test_20_000_spans_take_bounded_time",
        (
            "application/evaluation/execution/test_evaluate_traces.py"
            "::test_too_large_trace_is_refused_without_reading"
        ),
    ),
    "another worker completes the run of a killed worker and judges each pair once": (
        "e2e/test_workers.py::test_another_worker_resumes_after_kill",
        "application/evaluation/execution/test_evaluate_traces.py::test_another_worker_completes_work_of_stopped_worker",
    ),
    "emptying Redis loses no work": (
        "e2e/test_workers.py::test_flushed_redis_only_delays_the_run",
    ),
    "two workers with the same message write one set of scores": (
        (
            "contracts/evaluation/work_queue/test_work_queue_races.py"
            "::test_concurrent_claims_of_one_target_yield_one_claim"
        ),
        (
            "contracts/evaluation/work_queue/test_work_queue_races.py"
            "::test_pair_is_written_once_by_workers_with_one_target"
        ),
    ),
    "a correction is kept, and an ended run never has a pending score": (
        "contracts/evaluation/work_queue/test_work_queue_races.py::test_correction_survives_concurrent_recording_and_cancelling",
        (
            "contracts/evaluation/work_queue/test_work_queue_races.py"
            "::test_ended_run_never_has_pending_scores"
        ),
    ),
    "a cancelled or deleted run starts no further execution, in any state": (
        "contracts/evaluation/runs/test_runs.py::test_cancelling_skips_remaining_work_and_blocks_claims",
        "contracts/evaluation/runs/test_runs.py::test_second_cancellation_changes_nothing",
        "contracts/evaluation/runs/test_runs.py::test_ended_run_cannot_be_cancelled",
        "contracts/evaluation/runs/test_runs.py::test_run_is_deleted_in_any_state",
        "adapters/postgres/evaluation/test_work_cancel.py::test_claimed_target_cannot_be_written_after_cancellation",
        "application/evaluation/execution/test_evaluate_traces.py::test_cancelled_run_starts_no_further_execution",
        "application/evaluation/execution/test_evaluate_traces.py::test_deleted_run_starts_no_further_execution",
    ),
    "a run fails only if every execution failed": (
        "domain/evaluation/runs/test_run.py::test_run_fails_only_if_every_execution_failed",
    ),
    "heuristic scores and model scores are not averaged together": (
        (
            "domain/evaluation/scores/test_analytics.py"
            "::test_heuristic_and_model_scores_of_one_name_are_not_averaged"
        ),
        "contracts/evaluation/scores/test_score_analytics.py::test_heuristic_and_model_scores_are_not_mixed",
    ),
    "samples are deterministic, have the exact size, and grow with the rate": (
        (
            "domain/evaluation/runs/test_selection.py"
            "::test_higher_rate_includes_the_sample_of_a_lower_one"
        ),
        "domain/evaluation/runs/test_selection.py::test_sample_size",
        "domain/evaluation/runs/test_selection.py::test_sample_ignores_order_and_duplicates",
    ),
    "late traces are evaluated, a failing monitor delays no other, a crash loses no slot": (
        "application/evaluation/monitors/test_monitors.py::test_late_trace_is_evaluated",
        "application/evaluation/monitors/test_monitors.py::test_failing_monitor_delays_no_other",
        "application/evaluation/monitors/test_monitors.py::test_crash_loses_no_slot_and_uses_none_twice",
    ),
    "all processes compute the same vector": (
        "contracts/evaluation/judging/test_embedder.py::test_vector_is_same_in_every_process",
    ),
    "neither the API nor a worker without questions loads a model client": (
        "architecture/test_lazy_imports.py::test_api_loads_neither_model_clients_nor_worker_modules",
        "architecture/test_lazy_imports.py::test_worker_without_questions_loads_no_model_client",
    ),
    "keys and prompts are sent to the provider only": (
        "adapters/judges/test_model_judge_secrets.py::test_answers_errors_and_logs_contain_neither_key_nor_prompt",
        "adapters/judges/test_model_judge_secrets.py::test_scores_do_not_contain_key",
        "e2e/test_model_judge.py::test_run_is_judged_by_model_and_logs_hold_no_key_or_prompt",
    ),
    "heuristic, scripted and model judges follow the same contract": (
        "contracts/evaluation/judging/test_judge.py::test_score_names_its_judge",
        "contracts/evaluation/judging/test_judge.py::test_answer_does_not_depend_on_earlier_questions",
        "contracts/evaluation/judging/test_judge.py::test_concurrent_questions_are_answered_independently",
        "contracts/evaluation/judging/test_judge.py::test_evidence_of_any_size_is_judged",
        "contracts/evaluation/judging/test_judge.py::test_model_of_another_provider_is_refused",
        "contracts/evaluation/judging/test_judge.py::test_judge_that_misses_deadline_is_unavailable",
    ),
}

NUMBERED: Final = re.compile(r'^(?:async )?def (\w+)\([^"]*"""No\. (\d+)', re.MULTILINE)


@for_each(PROMISES)
def test_tests_of_promise_exist(promise):
    for test in PROMISES[promise]:
        path, _, name = test.partition("::")
        assert re.search(rf"^(async )?def {name}\(", (TESTS / path).read_text(), re.MULTILINE), test


def test_promise_numbers_in_tests_are_correct():
    found = [
        (int(number), f"{path.relative_to(TESTS).as_posix()}::{name}")
        for path in TESTS.rglob("test_*.py")
        for name, number in NUMBERED.findall(path.read_text())
    ]
    assert len(found) >= 5
    tests = [*PROMISES.values()]
    assert [one for one in found if one[1] not in tests[one[0] - 1]] == []
