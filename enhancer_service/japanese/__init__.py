"""Annotates Japanese without a model and validates the readings that a model proposes.

A text passes through `reading` (tokens), `counters` and `everyday` (rules over tokens), `furigana`, then `romaji` and
`words`. `annotate` runs these steps, `validation` checks proposed readings, and `annotator` offers both through the
stage's interface. Everything is pure: the process loads one `Analyser` and one `Lexicon` at start and passes them in.
"""
