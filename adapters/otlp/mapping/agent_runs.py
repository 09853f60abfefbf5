"""Inputs and outputs of runs of agents: the words in what a framework puts around them.

Frameworks report the arguments and the result of a function that runs an agent. These transforms
are for spans of other kinds than LLM and TOOL, and find what the user asked and the agent answered.
"""

import re
from collections.abc import Mapping
from typing import Final

from adapters.otlp.mapping.json_values import parsed, to_json
from adapters.otlp.mapping.payloads import Payload
from adapters.otlp.mapping.reading import NOTHING, Reading, Transform

_INPUT: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")  # as CrewAI finds it
_AGENT_RESULT: Final = "StopEvent(result=AgentOutput("


def text_member(*keys: str) -> Transform:
    """The text of a JSON object under the first of the keys that has one."""

    def found(value: object, _reading: Reading) -> object:
        inner = parsed(value)
        given = [inner.get(key) for key in keys] if isinstance(inner, Mapping) else []
        return next((_payload(one) for one in given if isinstance(one, str) and one), None)

    return found


def crew_answer(value: object, reading: Reading) -> object:
    """The text of the result of CrewAI's crew, agent or task."""
    inner = parsed(value)
    is_result = isinstance(inner, Mapping) and inner.keys() >= {"raw", "pydantic"}
    return text_member("raw")(inner, reading) if is_result else None


def crew_tasks(value: object, reading: Reading) -> object:
    """The tasks of CrewAI's crew, with the inputs of the run at the places that name them."""
    tasks, inputs = parsed(value), parsed(reading.attribute("crew_inputs"))
    listed = tasks if isinstance(tasks, list) else []
    asked = [one.get("description") for one in listed if isinstance(one, Mapping)]
    text = "\n\n".join(one for one in asked if isinstance(one, str))
    given = inputs if isinstance(inputs, Mapping) else {}
    text = _INPUT.sub(lambda place: str(given.get(place[1], place[0])), text)
    return _payload(text) if text else None


def unless_workflow_state(value: object, _reading: Reading) -> object:
    """Null for the state with which LlamaIndex starts a workflow: it lacks what the user said."""
    inner = parsed(value) if isinstance(value, str) and value.startswith('{"init_state"') else value
    return NOTHING if isinstance(inner, Mapping) and "start_event" in inner else None


def llama_index_answer(value: object, reading: Reading) -> object:
    """The text of the result of LlamaIndex's engine.

    Null for that of an agent: it is only the beginning of what Python prints, without the end.
    """
    if isinstance(value, str) and value.startswith(_AGENT_RESULT):
        return NOTHING
    inner = parsed(value)
    is_result = isinstance(inner, Mapping) and inner.keys() >= {"response", "source_nodes"}
    return text_member("response")(inner, reading) if is_result else None


def _payload(text: str) -> Payload:
    return Payload(to_json(text), text)
