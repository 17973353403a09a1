"""The text of a message, however a server cuts and wraps it."""

from __future__ import annotations

from typing import Any, Final

_LEAST_REPEATED: Final = 16
"""Characters of a text that no delta repeats by chance from its beginning."""
_TEXT_PARTS: Final = ("text", "output_text")


class MessageText:
    """The deltas of one message so far. It is false while there is no text."""

    def __init__(self) -> None:
        self.characters = 0
        self._parts: list[str] = []
        self._half = ""
        """The first half of a surrogate pair, whose second half comes with the next delta."""

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(self, delta: str) -> str:
        """Adds a delta and returns its new text, as far as it can be told yet."""
        if len(delta) > self.characters >= _LEAST_REPEATED:
            delta = self._without_repeated(delta)
        text = self._half + delta if self._half else delta
        self._half = ""
        if not text.isascii():
            text = self._sound(text)
        if text:
            self._parts.append(text)
            self.characters += len(text)
        return text

    def whole(self) -> str:
        return "".join(self._parts) + ("\ufffd" if self._half else "")

    def _without_repeated(self, delta: str) -> str:
        """Some servers send all of the text so far in place of what is new."""
        if not delta.startswith(self._parts[0]):
            return delta
        so_far = self.whole()
        return delta.removeprefix(so_far)

    def _sound(self, text: str) -> str:
        """Joins the halves of surrogate pairs; a half that stays alone becomes U+FFFD, the mark of a lost character."""
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return text


def message_text(content: Any) -> str:
    """The text of a message's content: a text, or a list of parts, of which thoughts and pictures are left out."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = (part for part in content if isinstance(part, dict) and part.get("type", "text") in _TEXT_PARTS)
    return "".join(part["text"] for part in parts if isinstance(part.get("text"), str))
