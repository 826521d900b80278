"""What enhance_prompt does: adds a model's quality words to both prompts, each once, outside of open brackets."""

import re

from serve_app.config import Enhancement
from serve_app.prompts.weights import closed, phrases


def enhance(prompt: str, negative: str, enhancement: Enhancement) -> tuple[str, str]:
    """Both prompts with the preset's words that they do not hold yet."""
    return _with_words(prompt, enhancement.suffix), _with_words(negative, enhancement.negative)


def _with_words(prompt: str, words: str) -> str:
    missing = [phrase for phrase in phrases(words) if not _holds(prompt, phrase)]
    if not missing:
        return prompt
    written = closed(prompt.rstrip().rstrip(",").rstrip())
    return ", ".join([written, *missing] if written else missing)


def _holds(prompt: str, phrase: str) -> bool:
    """Whether the phrase stands in the prompt as whole words, in any case, with or without a weight."""
    spaced = r"\s+".join(re.escape(word) for word in phrase.split())
    return re.search(rf"(?<!\w){spaced}(?!\w)", prompt, re.IGNORECASE) is not None
