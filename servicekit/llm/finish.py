"""How a server says that an answer ended: many words for a few ends."""

from __future__ import annotations

from typing import Final

from servicekit.safe_json import one_safe_line

_WORDS: Final = {
    "stop": """stop eos eos_token end end_turn end_of_turn end_of_text stop_sequence stop_token stopped complete
        completed done finish finished success normal""",
    "length": """length max_tokens max_output_tokens max_completion_tokens max_length max_new_tokens model_length
        token_limit length_limit""",
    "content_filter": "content_filter content_filtered safety recitation blocklist prohibited_content spii guardrail",
    "refusal": "refusal refused",
}
_END_OF: Final = {word: end for end, words in _WORDS.items() for word in words.split()}
_NO_END: Final = {"", "null", "none", "unspecified"}


def finish_reason(told: object) -> str:
    """`stop`, `length`, `content_filter` or `refusal` for their synonyms; other words as told; empty: not ended yet."""
    if told is None or told is False:
        return ""
    word = told if isinstance(told, str) else str(told)
    name = word.strip().casefold().removeprefix("finish_reason_").replace("-", "_").replace(" ", "_")
    if name in _NO_END:
        return ""
    return _END_OF.get(name) or one_safe_line(word, 60) or "unknown"
