"""Explains each failure: its reason, a message, and the next step."""

from __future__ import annotations

import codecs
import math
from typing import TYPE_CHECKING

from nidan.errors import Failure, MissingKeyError, StartError

if TYPE_CHECKING:
    from servicekit.errors import RemoteError  # needs gRPC, which loads while the services start


def gateway_failure(error: RemoteError, offline: bool = False) -> Failure:
    """Explains the gateway's error. `offline`: the command started that gateway, with the built-in lessons."""
    reason = error.reason or error.status.name
    no_sample = offline and reason == "STAGE1_BAD_REQUEST"
    fields = {_OPTIONS.get(entry.field, entry.field): entry.description for entry in error.violations}
    return Failure(
        reason=reason,
        message="The request cannot be served." if fields else error.message,
        next_step=_NO_SAMPLE if no_sample else _next_step(reason, error),
        stage=error.stage,
        retryable=error.retryable,
        fields=fields,
        lesson_id=error.lesson_id,
        caller_fault=no_sample or error.fault == "caller",
    )


def start_failure(error: StartError, default_address: str) -> Failure:
    """Explains why no gateway could be started here."""
    if isinstance(error, MissingKeyError):
        message = f"no gateway answers at {default_address}, and {error}"
        return Failure("NO_GATEWAY", message, caller_fault=True)
    step = "`nidan doctor` checks settings, ports and the dictionary."
    return Failure("START_FAILED", str(error), step)


def unreachable_gateway(address: str, tls: bool = False) -> Failure:
    """The gateway at the address does not answer, or does not speak TLS or plaintext as asked."""
    how = (
        "The call used TLS: the gateway may speak plaintext, or its certificate another name or authority (--ca-file)"
        if tls
        else "If it speaks TLS, add --tls, or --ca-file FILE for an authority of your own"
    )
    return Failure(
        "UNAVAILABLE",
        f"no gateway is serving at {address}.",
        f"Check the address (--address or NIDAN_ADDRESS), or start one with `nidan up`. {how}.",
        retryable=True,
        caller_fault=True,
    )


def enhancer_failure(error: RemoteError, line: int) -> Failure:
    """Explains the enhancer's error for the batch that starts at this line."""
    reason = error.reason or error.status.name
    return Failure(
        reason=reason,
        message=f"from line {line} on: {error.message}",
        next_step=_ENHANCER_NEXT.get(reason, _ANOTHER_ENHANCER if error.retryable else _VERSIONS),
        stage=error.stage,
        retryable=error.retryable,
    )


def unreachable_enhancer(address: str) -> Failure:
    """The enhancer at the address does not answer."""
    return Failure(
        "UNAVAILABLE",
        f"no enhancer is serving at {address}.",
        "Check the address (--address or NIDAN_ENHANCER_ADDRESS), or name none: nidan then starts one.",
        retryable=True,
        caller_fault=True,
    )


def unreadable_input(name: str, error: OSError) -> Failure:
    """The input could not be opened or read to its end."""
    message = f"cannot read {name}: {error.strerror or error}."
    return Failure("INPUT_NOT_READ", message, "Name a file of Japanese text, or - for stdin.", caller_fault=True)


def not_utf8(line: int, error: UnicodeDecodeError) -> Failure:
    """A line is broken or in another encoding."""
    wide = line == 1 and error.object.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return Failure(
        "INPUT_NOT_UTF8",
        f"line {line} is not UTF-8: byte 0x{error.object[error.start]:02X} at its position {error.start + 1}.",
        f"Convert it first, as with: iconv -f {'UTF-16' if wide else 'SHIFT_JIS'} -t UTF-8 FILE | nidan annotate",
        caller_fault=True,
    )


def line_too_long(line: int, most_bytes: int) -> Failure:
    """A line is too long to be a sentence."""
    return Failure(
        "LINE_TOO_LONG",
        f"line {line} has more than {most_bytes:,} bytes.",
        "A line is one sentence; cut it, as with: sed 's/。/。\\n/g' FILE | nidan annotate",
        caller_fault=True,
    )


_OPTIONS = {
    "spec.can_do_id": "ID",
    "spec.topic": "--topic",
    "spec.level": "--level",
    "spec.can_do_text": "--text",
    "spec.learner_language": "--language",
    "spec.model": "--model",
    "spec.timeout_seconds": "--timeout",
}

_NO_SAMPLE = (
    "Offline offers only built-in lessons: `nidan catalogue list --offline` names them, "
    "nidan generate JF:349 --offline prints one."
)
_AGAIN = "Run the command again"
_MODELS = "CANDO_AI_STAGE1_MODEL and CANDO_AI_STAGE1_FALLBACK_MODELS name the models; `nidan doctor` checks them."
_SLOW = f"{_AGAIN}; if it fails again, raise AI_STAGE1_TIMEOUT_SECONDS or choose another --model."
_TOO_LONG = "Raise AI_STAGE1_MAX_OUTPUT_TOKENS for the content service, or choose another --model."
_WORDING = "Use other words (--topic, --text), or choose another --model."
_STARTING = "Check that all services run: `nidan up` starts them, `nidan doctor` says what is wrong."
_ANOTHER_KEY = "The gateway's operator makes another: `nidan keys add NAME --scope generate`."
_NEXT = {
    "KEY_MISSING": "Set NIDAN_API_KEY to your key, or name its file with --key-file.",
    "KEY_UNKNOWN": f"Check that NIDAN_API_KEY is complete, and of this gateway. {_ANOTHER_KEY}",
    "KEY_EXPIRED": _ANOTHER_KEY,
    "KEY_REVOKED": _ANOTHER_KEY,
    "SCOPE_MISSING": f"The key does not allow this. {_ANOTHER_KEY}",
    "TWOSTAGE_DISABLED": "Set USE_TWOSTAGE_GENERATION=true for the gateway and start it again.",
    "UNKNOWN_CAN_DO": "`nidan catalogue search WORDS` finds ids; or say what to teach: --topic 食生活 --level A1.",
    "INVALID_REQUEST": "Fix the options that are named above; `nidan generate --help` explains each.",
    "STAGES_UNAVAILABLE": _STARTING,
    "UNAVAILABLE": _STARTING,
    "DEADLINE_EXCEEDED": "Give it more time with --timeout, or leave --timeout out for the gateway's own limit.",
    "GATEWAY_NOT_UNDERSTOOD": "Gateway and command line have different versions: update the older one.",
    "STAGE1_AUTH": "The provider refuses the key: check OPENAI_API_KEY (or your provider's) at the content service.",
    "STAGE1_QUOTA": "The provider's quota is used up: see its billing page. --offline costs nothing.",
    "STAGE1_BUDGET_TOO_SMALL": "Raise LESSON_COST_LIMIT_USD for the gateway, or choose a cheaper --model.",
    "STAGE1_UNKNOWN_MODEL": _MODELS,
    "STAGE1_RETIRED": _MODELS,
    "STAGE1_BAD_REQUEST": f"The provider rejects the request. {_MODELS}",
    "STAGE1_CONNECTION": "The model server cannot be reached: check the network and the provider's base URL.",
    "STAGE1_REFUSED": _WORDING,
    "STAGE1_CONTENT_FILTER": _WORDING,
    "STAGE1_LENGTH": _TOO_LONG,
    "STAGE1_REASONING_EXHAUSTED": _TOO_LONG,
    "STAGE1_TIMEOUT": _SLOW,
    "STAGE1_FIRST_TOKEN_TIMEOUT": _SLOW,
    "STAGE1_STALLED": _SLOW,
}

_VERSIONS = "Enhancer and command line may have different versions: update the older one."
_ANOTHER_ENHANCER = f"{_AGAIN}; without an address it starts an enhancer of its own."
_ENHANCER_NEXT = {
    "DEADLINE_EXCEEDED": "The enhancer is overloaded, or the line is too long: a line is one sentence.",
}


def _duration(seconds: float) -> str:
    if seconds < 300:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 7200 else f"{math.ceil(seconds / 3600)} h"


def _next_step(reason: str, error: RemoteError) -> str:
    if error.retry_after_seconds:
        return f"{_AGAIN} in {_duration(error.retry_after_seconds)}."
    if reason in _NEXT:
        return _NEXT[reason]
    if error.retryable:
        return f"{_AGAIN}; the same request may succeed."
    return "The gateway's log has details under this lesson's id."
