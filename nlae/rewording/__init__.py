"""The same explanation in other words, or in fewer: texts in, texts out, the same for the same seed.

What survives a rewording that keeps the meaning was said by the meaning; what is lost with the order, the quotes or the
names was said by those. Measures of faithfulness read reworded texts, and training may (`nlae.training.reading`). Names
are loaded on first use, so that naming a rewording in a config imports nothing heavy.
"""

from typing import TYPE_CHECKING

from nlae.files.lazy import lazily

if TYPE_CHECKING:
    from nlae.rewording.base import PerText, Reworded, Rewording
    from nlae.rewording.empty import Empty
    from nlae.rewording.entity_swap import EntitySwap
    from nlae.rewording.fewer_tokens import FewerTokens
    from nlae.rewording.no_quotes import NoQuotes
    from nlae.rewording.only_quotes import OnlyQuotes
    from nlae.rewording.openai import OpenAIParaphraser
    from nlae.rewording.paraphrase import Paraphrase
    from nlae.rewording.sentence_embedding import SentenceEmbedder
    from nlae.rewording.sentence_shuffle import SentenceShuffle
    from nlae.rewording.synonyms import Synonyms
    from nlae.rewording.truncation import RandomTruncation, Truncation
    from nlae.rewording.word_shuffle import WordShuffle

__all__ = [
    "Empty",
    "EntitySwap",
    "FewerTokens",
    "NoQuotes",
    "OnlyQuotes",
    "OpenAIParaphraser",
    "Paraphrase",
    "PerText",
    "RandomTruncation",
    "Reworded",
    "Rewording",
    "SentenceEmbedder",
    "SentenceShuffle",
    "Synonyms",
    "Truncation",
    "WordShuffle",
]

__getattr__ = lazily(
    __name__,
    {
        "Empty": "empty",
        "EntitySwap": "entity_swap",
        "FewerTokens": "fewer_tokens",
        "NoQuotes": "no_quotes",
        "OnlyQuotes": "only_quotes",
        "OpenAIParaphraser": "openai",
        "Paraphrase": "paraphrase",
        "PerText": "base",
        "RandomTruncation": "truncation",
        "Reworded": "base",
        "Rewording": "base",
        "SentenceEmbedder": "sentence_embedding",
        "SentenceShuffle": "sentence_shuffle",
        "Synonyms": "synonyms",
        "Truncation": "truncation",
        "WordShuffle": "word_shuffle",
    },
)
