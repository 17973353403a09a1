"""Japanese annotated without a model: readings, furigana, romaji, words, and the checks a model's answer must pass.

Text goes `reading` (tokens) -> `counters`, `everyday` (rules over tokens) -> `furigana` -> `romaji`, `words`;
`annotate` runs the line and `verify` judges what a model returned. Everything is pure: one `reading.Analyser` is
loaded at start and passed in.
"""
