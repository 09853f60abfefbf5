"""The rules: which attributes and events give which target, in order of precedence.

A renamed convention is one more key here, and a greater MAPPING_VERSION.
"""

from collections.abc import Sequence
from typing import Final

from adapters.otlp.mapping import payloads
from adapters.otlp.mapping.agent_runs import (
    crew_answer,
    crew_tasks,
    llama_index_answer,
    text_member,
    unless_workflow_state,
)
from adapters.otlp.mapping.kinds import claude_code_kind, kind
from adapters.otlp.mapping.payloads import (
    answer_with_calls,
    assistant_message,
    conversation_before_answer,
    event_member,
    generic,
    indexed,
    instructions_alone,
    last_answer,
    messages,
    messages_in,
    messages_out,
    messages_with_instructions,
    streamed_messages,
    values,
    vercel_answer,
)
from adapters.otlp.mapping.reading import Rule, Target, table_for
from adapters.otlp.mapping.tokens import (
    inclusive_json,
    inclusive_or_disjoint_json,
    printed_usage,
    undefined_json,
)
from adapters.otlp.mapping.transforms import (
    after,
    amount,
    amount_above_0,
    constant,
    cost_parts,
    equals,
    exception,
    finish_reasons,
    first_event_time,
    identifier,
    instant,
    is_true,
    item_texts,
    json_object,
    json_text_of,
    json_texts_of,
    label,
    member,
    members,
    name,
    named,
    nested,
    object_of,
    prompt_and_completion,
    provider,
    status_message,
    tags,
    text,
    token_count,
    unless_browser,
    unless_response,
    uuid_of_time,
    uuid_of_time_in_baggage,
)
from domain.tracing.span import SpanKind, SpanStatus

MAPPING_VERSION: Final = 5

_SECOND: Final = 1_000_000_000  # nanoseconds
_MILLISECOND: Final = 1_000_000

_CLAUDE_CODE: Final = "com.anthropic.claude_code.tracing"
_CREWAI: Final = "openinference.instrumentation.crewai"
_GOOGLE_ADK: Final = "gcp.vertex.agent"
_LANGSMITH: Final = "langsmith"
_LITELLM: Final = "litellm"
_LLAMA_INDEX: Final = "openinference.instrumentation.llama_index"
_SMOLAGENTS: Final = "openinference.instrumentation.smolagents"
_PYDANTIC_AI: Final = "pydantic-ai"
_OPENLIT: Final = "openlit"

_KINDS: Final = (
    Rule(Target.KIND, ("span.type",), claude_code_kind, when_scope=_CLAUDE_CODE),
    # Its retrievers say `embeddings` in the attribute of the conventions.
    Rule(Target.KIND, ("langsmith.span.kind",), kind, when_scope=_LANGSMITH),
    Rule(
        Target.KIND,
        (
            "langfuse.observation.type",
            "openinference.span.kind",
            "gen_ai.operation.name",
            "traceloop.span.kind",
            "langsmith.span.kind",
            "mlflow.spanType",
            "ai.operationId",
            "llm.request.type",
        ),
        kind,
    ),
    Rule(Target.KIND, ("gen_ai.tool.name",), constant(SpanKind.TOOL)),
    Rule(Target.KIND, ("mcp.method.name",), equals("tools/call", SpanKind.TOOL)),
    Rule(
        Target.KIND, ("retrieval.documents.*", "gen_ai.retrieval.*"), constant(SpanKind.RETRIEVER)
    ),
)

_INPUTS: Final = (
    Rule(Target.OBSERVATION_INPUT, ("langfuse.observation.input",), generic),
    Rule(Target.MESSAGES_IN, ("gen_ai.input.messages",), messages_with_instructions),
    Rule(
        Target.MESSAGES_IN,
        ("event:gen_ai.{system,user,assistant,tool}.message",),
        messages_in,
    ),
    Rule(Target.MESSAGES_IN, ("llm.input_messages.*",), indexed("llm.input_messages")),
    Rule(Target.MESSAGES_IN, ("gen_ai.prompt.*",), indexed("gen_ai.prompt")),
    Rule(Target.MESSAGES_IN, ("ai.prompt.messages", "ai.prompt"), messages),
    Rule(
        Target.GENERIC_IN,
        (
            "input.value",
            "gen_ai.prompt",
            "traceloop.entity.input",
            "gen_ai.task.input",
            "mlflow.spanInputs",
            "gcp.vertex.agent.llm_request",
        ),
        generic,
    ),
    Rule(
        Target.TOOL_INPUT,
        (
            "gen_ai.tool.call.arguments",
            "tool_arguments",
            "ai.toolCall.args",
            "tool_input",
            "full_command",
            "gcp.vertex.agent.tool_call_args",
        ),
        generic,
    ),
    Rule(Target.TOOL_EVENT_IN, ("event:gen_ai.tool.message",), event_member("content")),
    Rule(Target.QUERY_IN, ("crew_tasks",), crew_tasks, when_scope=_CREWAI),
    Rule(Target.QUERY_IN, ("input.value",), text_member("messages"), when_scope=_CREWAI),
    Rule(Target.QUERY_IN, ("input.value",), text_member("task"), when_scope=_SMOLAGENTS),
    Rule(
        Target.QUERY_IN,
        ("input.value",),
        text_member("user_msg", "message"),
        when_scope=_LLAMA_INDEX,
    ),
    Rule(Target.GENERIC_IN, ("input.value",), unless_workflow_state, when_scope=_LLAMA_INDEX),
    Rule(Target.QUERY_IN, ("gen_ai.retrieval.query.text", "user_prompt"), generic),
    Rule(Target.VALUES_IN, ("ai.value", "ai.values"), values),
    Rule(
        Target.VALUES_IN,
        ("embedding.embeddings.*",),
        payloads.items("embedding.embeddings", "embedding", "text"),
    ),
    Rule(
        Target.CONVERSATION_IN,
        ("pydantic_ai.all_messages", "all_messages_events"),
        conversation_before_answer,
    ),
    Rule(Target.INSTRUCTIONS_IN, ("gen_ai.system_instructions",), instructions_alone),
)

_OUTPUTS: Final = (
    Rule(Target.OBSERVATION_OUTPUT, ("langfuse.observation.output",), generic),
    Rule(
        Target.MESSAGES_OUT,
        ("gen_ai.completion.*",),
        answer_with_calls,
        when_scope=_LITELLM,
    ),
    Rule(
        Target.MESSAGES_OUT,
        ("gen_ai.output.messages",),
        streamed_messages,
        when_scope=_GOOGLE_ADK,
    ),
    Rule(Target.MESSAGES_OUT, ("gen_ai.output.messages",), messages),
    Rule(Target.MESSAGES_OUT, ("event:gen_ai.choice",), messages_out),
    Rule(Target.MESSAGES_OUT, ("llm.output_messages.*",), indexed("llm.output_messages")),
    Rule(Target.MESSAGES_OUT, ("gen_ai.completion.*",), indexed("gen_ai.completion")),
    Rule(Target.MESSAGES_OUT, ("ai.response.{text,toolCalls,object}",), vercel_answer),
    Rule(Target.MESSAGES_OUT, ("claude_code.assistant_response.response",), assistant_message),
    Rule(
        Target.GENERIC_OUT,
        (
            "output.value",
            "gen_ai.completion",
            "traceloop.entity.output",
            "gen_ai.task.output",
            "mlflow.spanOutputs",
        ),
        generic,
    ),
    Rule(
        Target.TOOL_OUTPUT,
        ("gen_ai.tool.call.result", "tool_response", "ai.toolCall.result"),
        generic,
    ),
    Rule(Target.TOOL_EVENT_OUT, ("event:tool.output",), event_member("output")),
    Rule(Target.TOOL_EVENT_OUT, ("event:gen_ai.choice",), event_member("message")),
    Rule(Target.RESULT_OUT, ("output.value",), crew_answer, when_scope=_CREWAI),
    Rule(Target.RESULT_OUT, ("output.value",), llama_index_answer, when_scope=_LLAMA_INDEX),
    Rule(Target.GENERIC_OUT, ("output.value",), llama_index_answer, when_scope=_LLAMA_INDEX),
    Rule(
        Target.RESULT_OUT,
        ("retrieval.documents.*",),
        payloads.items("retrieval.documents", "document"),
    ),
    Rule(
        Target.RESULT_OUT,
        (
            "gen_ai.retrieval.documents",
            "output.value",
            "final_result",
            "claude_code.assistant_response.response",
        ),
        generic,
    ),
    Rule(Target.CONVERSATION_OUT, ("pydantic_ai.all_messages", "all_messages_events"), last_answer),
)

_MODELS: Final = (
    Rule(
        Target.MODEL,
        (
            "langfuse.observation.model.name",
            "gen_ai.response.model",
            "llm.response.model_name",
            "ai.response.model",
            "ai.model.id",
            "gen_ai.request.model",
            "llm.model_name",
            "llm.request.model_name",
            "{embedding,reranker}.model_name",
            "mlflow.llm.model",
            "model",
        ),
        label,
    ),
    Rule(
        Target.REQUEST_MODEL,
        ("gen_ai.request.model", "llm.request.model_name", "ai.model.id"),
        label,
    ),
    Rule(
        Target.PROVIDER,
        (
            "gen_ai.provider.name",
            "gen_ai.system",
            "llm.provider",
            "llm.system",
            "ai.model.provider",
        ),
        provider,
    ),
    Rule(
        Target.MODEL_PARAMETERS,
        ("langfuse.observation.model.parameters", "llm.invocation_parameters"),
        json_object,
    ),
    Rule(Target.MODEL_PARAMETERS, ("gen_ai.request.*",), object_of("gen_ai.request.", "model")),
    Rule(Target.MODEL_PARAMETERS, ("ai.settings.*",), object_of("ai.settings.")),
    Rule(Target.FIRST_TOKEN, ("langfuse.observation.completion_start_time",), instant),
    Rule(
        Target.FIRST_TOKEN,
        (
            "gen_ai.response.time_to_first_chunk",
            "gen_ai.client.operation.time_to_first_chunk",
        ),
        after(_SECOND),
    ),
    Rule(
        Target.FIRST_TOKEN,
        ("gen_ai.server.time_to_first_token", "ai.response.msToFirstChunk", "ttft_ms"),
        after(_MILLISECOND),
    ),
    Rule(Target.FIRST_TOKEN, ("event:First Token Stream Event",), first_event_time),
    Rule(Target.RESPONSE_ID, ("gen_ai.response.id", "ai.response.id"), identifier),
    Rule(Target.ANSWER_WITH_ID, ("openinference.span.kind",), equals("llm", result=True)),
)

_CLAUDE_CODE_REQUESTS: Final = (
    Rule(
        Target.CLAUDE_REQUEST,
        ("span.type",),
        equals("llm_request", result=True),
        when_scope=_CLAUDE_CODE,
    ),
)

_TRACES: Final = (
    Rule(Target.SESSION_ID, ("langfuse.session.id",), identifier),
    Rule(Target.SESSION_ID, ("session.id",), unless_browser),
    Rule(Target.SESSION_ID, ("gen_ai.conversation.id",), unless_response),
    Rule(
        Target.SESSION_ID,
        (
            "traceloop.association.properties.{session_id,thread_id}",
            "ai.telemetry.metadata.sessionId",
            "ai.settings.context.sessionId",
            "langsmith.metadata.{session_id,thread_id}",
            "thread_id",
        ),
        identifier,
    ),
    Rule(Target.SESSION_ID, ("metadata",), member("session_id", identifier)),
    # The library makes an id up for each run.
    Rule(
        Target.MADE_UP_SESSION, ("gen_ai.conversation.id",), uuid_of_time, when_scope=_PYDANTIC_AI
    ),
    Rule(Target.MADE_UP_SESSION, ("gen_ai.conversation.id",), uuid_of_time_in_baggage),
    Rule(
        Target.USER_ID,
        (
            "langfuse.user.id",
            "user.id",
            "enduser.id",
            "gen_ai.user",
            "llm.user",
            "gen_ai.request.user",
            "traceloop.association.properties.user_id",
            "ai.telemetry.metadata.userId",
            "ai.settings.context.userId",
            "langsmith.metadata.user_id",
        ),
        identifier,
    ),
    Rule(Target.USER_ID, ("metadata",), member("user_id", identifier)),
    Rule(Target.ENVIRONMENT, ("langfuse.environment",), identifier),
    Rule(Target.RELEASE, ("langfuse.release",), identifier),
    Rule(
        Target.TAGS,
        (
            "langfuse.trace.tags",
            "langfuse.tags",
            "tag.tags",
            "tags",
            "langsmith.span.tags",
            "ai.telemetry.metadata.tags",
            "ai.settings.context.tags",
            "opik.tags",
        ),
        tags,
    ),
    Rule(Target.TRACE_NAME, ("langfuse.trace.name",), name),
    Rule(Target.TRACE_INPUT, ("langfuse.trace.input",), generic),
    Rule(Target.TRACE_OUTPUT, ("langfuse.trace.output",), generic),
    Rule(Target.APP_ROOT, ("langfuse.internal.is_app_root",), is_true),
)

_METADATA: Final = (
    Rule(Target.METADATA, ("metadata",), members()),
    Rule(Target.METADATA, ("langfuse.trace.metadata.*",), members("langfuse.trace.metadata.")),
    Rule(
        Target.METADATA,
        ("langfuse.observation.metadata.*",),
        members("langfuse.observation.metadata."),
    ),
    Rule(
        Target.METADATA,
        ("traceloop.association.properties.*",),
        members("traceloop.association.properties."),
    ),
    Rule(Target.METADATA, ("ai.telemetry.metadata.*",), members("ai.telemetry.metadata.")),
    Rule(Target.METADATA, ("ai.settings.context.*",), members("ai.settings.context.")),
    # Its senders add variables of the environment, with addresses and names of machines.
    Rule(
        Target.METADATA,
        ("langsmith.metadata.*",),
        members("langsmith.metadata.", "LANGSMITH_", "LANGCHAIN_", "usage_metadata"),
    ),
    Rule(
        Target.TRACE_METADATA,
        ("langfuse.trace.metadata.*",),
        members("langfuse.trace.metadata."),
    ),
    # `experiment.id`, `experiment.item` and `experiment.repetition`: the case of an experiment.
    Rule(Target.TRACE_METADATA, ("pandaprobe.experiment.*",), members("pandaprobe.")),
    Rule(
        Target.TOOL_NAME,
        (
            "gen_ai.tool.name",
            "tool.name",
            "ai.toolCall.name",
            "tool_name",
            "traceloop.entity.name",
            "mlflow.spanFunctionName",
        ),
        name,
    ),
    Rule(
        Target.TOOL_CALL_ID,
        ("gen_ai.tool.call.id", "tool.id", "tool_call.id", "ai.toolCall.id", "tool_use_id"),
        identifier,
    ),
    Rule(Target.TOOL_TYPE, ("gen_ai.tool.type",), label),
    Rule(Target.TOOL_DESCRIPTION, ("gen_ai.tool.description", "tool.description"), text),
    # The schema of a tool is never its input.
    Rule(Target.TOOL_SCHEMA, ("gen_ai.tool.json_schema", "tool.parameters"), json_text_of),
    Rule(Target.TOOLS, ("gen_ai.tool.definitions", "mlflow.chat.tools"), json_texts_of),
    Rule(Target.TOOLS, ("llm.tools.*",), item_texts("llm.tools", "tool", "json_schema")),
    Rule(Target.TOOLS, ("llm.request.functions.*",), item_texts("llm.request.functions")),
    Rule(Target.TOOLS, ("ai.prompt.tools",), json_texts_of),
    # Strands sends the names of its tools alone, unless a setting of it adds their schemas.
    Rule(Target.TOOLS, ("gen_ai.agent.tools",), json_texts_of),
    Rule(
        Target.FINISH_REASONS,
        (
            "gen_ai.response.finish_reasons",
            "llm.finish_reason",
            "ai.response.finishReason",
            "stop_reason",
        ),
        finish_reasons,
    ),
    Rule(Target.AGENT, ("gen_ai.agent.*",), members("gen_ai.agent.")),
    Rule(Target.AGENT, ("agent.name",), named("name")),
    Rule(Target.AGENT, ("gen_ai.workflow.name", "traceloop.workflow.name"), named("workflow_name")),
    Rule(Target.AGENT, ("traceloop.entity.name",), named("entity_name")),
    Rule(Target.AGENT, ("traceloop.entity.path",), named("entity_path")),
    Rule(Target.AGENT, ("graph.node.id",), named("node_id")),
    Rule(Target.AGENT, ("graph.node.name",), named("node_name")),
    Rule(Target.AGENT, ("graph.node.parent_id",), named("parent_node_id")),
    Rule(Target.PROMPT, ("langfuse.observation.prompt.name", "gen_ai.prompt.name"), named("name")),
    Rule(
        Target.PROMPT,
        ("langfuse.observation.prompt.version", "gen_ai.prompt.version"),
        named("version"),
    ),
    Rule(
        Target.PROMPT,
        ("gen_ai.prompt.variable.*",),
        nested("variables", "gen_ai.prompt.variable."),
    ),
    Rule(Target.PROMPT, ("llm.prompt_template.*",), members("llm.prompt_template.")),
)

_STATUS: Final = (
    Rule(Target.STATUS, ("langfuse.observation.level",), equals("error", SpanStatus.ERROR)),
    Rule(Target.STATUS, ("claude_code.tool_result.success",), equals("false", SpanStatus.ERROR)),
    Rule(Target.STATUS_MESSAGE, ("langfuse.observation.status_message",), status_message),
    Rule(Target.ERROR_EVENT, ("event:exception",), exception),
    Rule(Target.STATUS_MESSAGE, ("claude_code.tool_result.error",), text),
    Rule(Target.ERROR_TYPE, ("error.type",), text),
)

_U: Final = "gen_ai.usage."
_TOKENS: Final = (
    Rule(
        Target.USAGE_AS_JSON,
        ("langfuse.observation.usage_details",),
        inclusive_or_disjoint_json,
    ),
    Rule(Target.USAGE_AS_JSON, ("langsmith.metadata.usage_metadata",), inclusive_json),
    Rule(Target.USAGE_AS_JSON, ("metadata.usage_object",), printed_usage, when_scope=_LITELLM),
    Rule(
        Target.INPUT_TOKENS,
        (
            f"{_U}input_tokens",
            f"{_U}prompt_tokens",
            "llm.token_count.prompt",
            "ai.usage.{inputTokens,promptTokens,tokens}",
        ),
        token_count,
    ),
    Rule(
        Target.CACHE_READ_TOKENS,
        (
            f"{_U}cache_read.input_tokens",
            "llm.token_count.prompt_details.cache_read",
            "ai.usage.inputTokenDetails.cacheReadTokens",
            "ai.usage.cachedInputTokens",
            f"{_U}cache_read_input_tokens",
            f"{_U}cache_read_tokens",
            f"{_U}input_cached_tokens",
        ),
        token_count,
    ),
    Rule(
        Target.CACHE_WRITE_TOKENS,
        (
            f"{_U}cache_write.input_tokens",
            f"{_U}cache_creation.input_tokens",
            "llm.token_count.prompt_details.cache_write",
            "ai.usage.inputTokenDetails.cacheWriteTokens",
            f"{_U}cache_write_input_tokens",
            f"{_U}cache_creation_input_tokens",
            f"{_U}cache_write_tokens",
        ),
        token_count,
    ),
    Rule(
        Target.OUTPUT_TOKENS,
        (
            f"{_U}output_tokens",
            f"{_U}completion_tokens",
            "llm.token_count.completion",
            "ai.usage.{outputTokens,completionTokens}",
        ),
        token_count,
    ),
    Rule(
        Target.REASONING_TOKENS,
        (
            f"{_U}reasoning.output_tokens",
            f"{_U}details.reasoning_tokens",
            "llm.token_count.completion_details.reasoning",
            "ai.usage.outputTokenDetails.reasoningTokens",
            "ai.usage.reasoningTokens",
            f"{_U}reasoning_tokens",
        ),
        token_count,
    ),
    Rule(
        Target.AUDIO_INPUT_TOKENS,
        (f"{_U}audio.input_tokens", "llm.token_count.prompt_details.audio"),
        token_count,
    ),
    Rule(
        Target.AUDIO_OUTPUT_TOKENS,
        (f"{_U}audio.output_tokens", "llm.token_count.completion_details.audio"),
        token_count,
    ),
    Rule(
        Target.TOTAL_TOKENS,
        (
            f"{_U}total_tokens",
            "llm.usage.total_tokens",
            "llm.token_count.total",
            "ai.usage.totalTokens",
        ),
        token_count,
    ),
    # Claude Code's: the input is what was neither read from the cache nor written to it.
    Rule(Target.DISJOINT_INPUT_TOKENS, ("input_tokens",), token_count),
    Rule(Target.DISJOINT_CACHE_READ_TOKENS, ("cache_read_tokens",), token_count),
    Rule(Target.DISJOINT_CACHE_WRITE_TOKENS, ("cache_creation_tokens",), token_count),
    Rule(Target.DISJOINT_OUTPUT_TOKENS, ("output_tokens",), token_count),
    Rule(Target.FALLBACK_USAGE_AS_JSON, ("mlflow.chat.tokenUsage",), undefined_json),
)

_COSTS: Final = (
    # It states 0 for each model that isn't in the list of prices that it downloads.
    Rule(Target.COST, ("gen_ai.usage.cost",), amount_above_0, when_scope=_OPENLIT),
    Rule(
        Target.COST,
        ("gen_ai.usage.cost", "gen_ai.cost.total_cost", "operation.cost", "llm.cost.total"),
        amount,
    ),
    Rule(Target.COST, ("llm.cost.{prompt,completion}",), prompt_and_completion),
    Rule(Target.COST, ("langfuse.observation.cost_details",), cost_parts),
    Rule(Target.COST, ("claude_code.api_request.cost_usd",), amount),
)

RULES: Final[Sequence[Rule]] = (
    *_KINDS,
    *_INPUTS,
    *_OUTPUTS,
    *_MODELS,
    *_CLAUDE_CODE_REQUESTS,
    *_TRACES,
    *_METADATA,
    *_STATUS,
    *_TOKENS,
    *_COSTS,
)

rule_table = table_for(RULES)
"""The table of the rules that hold for the name of an instrumentation scope."""
