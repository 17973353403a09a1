"""Reads a chat completion request and its data block. Pure: takes bytes, gives values or raises ApiError."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from offline_model.bank import SECTION_KEYS
from offline_model.errors import ApiError

Read = TypeVar("Read", bound=BaseModel)


class _RequestPart(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


def _flat(content: object) -> object:
    """A message's content as one text: it may also be null or a list of parts."""
    if content is None:
        return ""
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        return "\n".join(part["text"] for part in content if isinstance(part.get("text"), str))
    return content


class Message(_RequestPart):
    role: str
    content: Annotated[str, BeforeValidator(_flat)] = ""


class StreamOptions(_RequestPart):
    include_usage: StrictBool | None = None


class JsonSchema(_RequestPart):
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None


class ResponseFormat(_RequestPart):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> Self:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema must be given with the type json_schema")
        return self

    @property
    def properties(self) -> tuple[str, ...] | None:
        """The schema's root properties in order; None without a schema or properties."""
        schema = (self.json_schema and self.json_schema.schema_) or {}
        properties = schema.get("properties")
        if self.type != "json_schema" or not isinstance(properties, dict):
            return None
        return tuple(properties)


Tokens = Annotated[StrictInt, Field(ge=1)]


class ChatRequest(_RequestPart):
    """The fields that change the answer. All others (temperature, seed, user, …) are accepted and ignored."""

    model: str
    messages: Annotated[tuple[Message, ...], Field(min_length=1)]
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    max_completion_tokens: Tokens | None = None
    n: Literal[1] | None = None
    response_format: ResponseFormat | None = None

    @model_validator(mode="after")
    def _options_belong_to_streams(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options is only allowed when stream is true")
        return self

    @property
    def prompt(self) -> str:
        """All that the messages say, for the count of tokens."""
        return "\n".join(message.content for message in self.messages)

    @property
    def token_limit(self) -> int | None:
        return min((limit for limit in (self.max_tokens, self.max_completion_tokens) if limit), default=None)

    @property
    def include_usage(self) -> bool:
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def properties(self) -> tuple[str, ...] | None:
        """The root properties wanted by the response format; None when it leaves them to the request."""
        return self.response_format.properties if self.response_format else None


def read_request(body: bytes) -> ChatRequest:
    """Parses a request. Raises ApiError 400, which names the parameter."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ApiError(400, None, f"The request body is not readable JSON: {_short(error)}") from None
    try:
        return ChatRequest.model_validate(value)
    except ValidationError as error:
        raise _parameter_error(error) from None


def _parameter_error(error: ValidationError) -> ApiError:
    first = error.errors(include_url=False, include_input=False)[0]
    param = ".".join(map(str, first["loc"])) or None
    if first["type"] == "missing":
        return ApiError(400, "missing_required_parameter", f"Missing required parameter: '{param}'.", param)
    message = f"Invalid value for '{param}': {first['msg']}." if param else f"Invalid request: {first['msg']}."
    return ApiError(400, "invalid_value", message, param)


# --- The data block: the stages' question as JSON between a line <data> and a line </data> -----------------------


class _Data(_RequestPart):
    model_config = ConfigDict(alias_generator=to_camel)


class BriefData(_Data):
    """The fields of the brief that decide whether the bank has the lesson."""

    can_do_id: str
    level: str | None = None
    topic: str | None = None
    learner_language: str | None = None


def _known(key: str) -> str:
    if key not in SECTION_KEYS:
        raise ValueError(f"a section is one of {', '.join(SECTION_KEYS)}")
    return key


SectionKey = Annotated[str, AfterValidator(_known)]


class Stage1Data(_Data):
    brief: BriefData
    sections: Annotated[tuple[SectionKey, ...], Field(min_length=1)]
    """JSON keys of the wanted sections."""


class ItemData(_Data):
    id: str
    text: str
    want: bool = True
    translate: bool = True


class Stage2Data(_Data):
    brief: BriefData
    mode: Literal["model", "review", "analyser"]
    items: tuple[ItemData, ...]


def read_data(request: ChatRequest) -> Stage1Data | Stage2Data:
    """Reads the data block of the last user message: Stage 2's has `items`, Stage 1's has `sections`.

    Raises ApiError 400 `no_data_block` unless there is exactly one usable block.
    """
    users = [message.content for message in request.messages if message.role == "user"]
    block = _block(users[-1]) if users else None
    if block is None:
        raise _no_data_block("This model does not read prose, and the message does not have exactly one data block")
    try:
        value = json.loads(block)
    except (ValueError, RecursionError) as error:
        raise _no_data_block(f"The data block is not readable JSON ({_short(error)})") from None
    stage2 = isinstance(value, dict) and "items" in value
    return _validated(Stage2Data, value) if stage2 else _validated(Stage1Data, value)


def _block(text: str) -> str | None:
    """The text between the only line <data> and the only line </data>; None unless there is exactly one pair."""
    lines = text.split("\n")
    begins = [index for index, line in enumerate(lines) if line.rstrip() == "<data>"]
    ends = [index for index, line in enumerate(lines) if line.rstrip() == "</data>"]
    if len(begins) != 1 or len(ends) != 1 or ends < begins:
        return None
    return "\n".join(lines[begins[0] + 1 : ends[0]])


def _validated(kind: type[Read], value: object) -> Read:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(map(str, first["loc"])) or "the data"
        raise _no_data_block(f"The data block cannot be used ({path}: {first['msg']})") from None


def _no_data_block(what: str) -> ApiError:
    how = (
        "the last user message must hold exactly one JSON object between a line <data> and a line </data>, with "
        "`brief` and either `sections` (to write a lesson) or `mode` and `items` (to annotate one)"
    )
    return ApiError(400, "no_data_block", f"{what}: {how}.", "messages")


def _short(error: Exception) -> str:
    return str(error)[:200]
