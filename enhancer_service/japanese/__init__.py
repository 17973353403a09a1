"""Japanese annotated without a model: readings, furigana, romaji, words, and the checks a model's answer must pass.

Text goes `reading` (tokens) -> `counters`, `everyday` (rules over tokens) -> `furigana` -> `romaji`, `words`;
`annotate` runs the line, `validation` judges what a model said of a reading, `annotator` is all of it behind the stage's
interface. Everything is pure: one `reading.Analyser` and one `lexicon.Lexicon` are loaded at start and passed in.
"""
