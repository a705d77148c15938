"""Prompts as a model reads them: its chat template and its tokens."""

from collections.abc import Sequence
from typing import Any

from llm4rec.explain.prompt import Prompt
from llm4rec.language_model import load_tokenizer

_SENTENCE_ENDS = (".", "!", "?", '."', '!"', '?"')
# A small model that has said it all often goes on after a colon or semicolon, with the same once more.
_CLAUSE_ENDS = (":", ";")


class Chat:
    """The tokenizer of a chat model, and what is done with it in one place for every engine."""

    def __init__(self, generator: str) -> None:
        """Load the tokenizer of `explain.generator`.

        Raises:
            ConfigError: there is no such model here and none can be fetched.
        """
        # Padding on the left, so that the last column of a batch holds every prompt's last token.
        self.tokenizer: Any = load_tokenizer(generator, "explain.generator", padding_side="left")
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    def texts(self, prompts: Sequence[Prompt]) -> list[str]:
        """The prompts in the model's template; each ends in its opening, which the model continues."""
        chats = [[*prompt.messages, {"role": "assistant", "content": prompt.opening}] for prompt in prompts]
        found: list[str] = self.tokenizer.apply_chat_template(chats, tokenize=False, continue_final_message=True)
        return found

    def tokens(self, prompt: Prompt) -> list[int]:
        """The tokens of one prompt."""
        (text,) = self.texts([prompt])
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens that a model added."""
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))


def finished(opening: str, added: str) -> str | None:
    """The sentence that an opening and what a model added make, or None if it has not come to an end.

    A mark inside an open quotation, as in a title, is no end.
    """
    sentence = f"{opening} {added.strip()}"
    if sentence.count('"') % 2 or not added.strip():
        return None
    if sentence.endswith(_CLAUSE_ENDS):
        return f"{sentence[:-1].rstrip()}."
    return sentence if sentence.endswith(_SENTENCE_ENDS) else None
