"""The baselines that a configuration asks for."""

from collections import Counter
from collections.abc import Callable
from typing import Protocol, Self

from llm4rec.baselines.bert4rec import BERT4Rec
from llm4rec.baselines.config import PopularConfig
from llm4rec.baselines.ease import EASE
from llm4rec.baselines.genrec import GenRec
from llm4rec.baselines.hstu import HSTU
from llm4rec.baselines.ials import IALS
from llm4rec.baselines.item_knn import ItemKNN
from llm4rec.baselines.popular import Popular
from llm4rec.baselines.sasrec import SASRec
from llm4rec.baselines.tiger import TIGER
from llm4rec.cluster.run_config import BaselinesSection
from llm4rec.errors import ConfigError
from llm4rec.evaluate.ranking import Scorer
from llm4rec.schema import TEXT, Corpus, Features


class Baseline(Scorer, Protocol):
    """A model that is fitted where it is evaluated."""

    def fit(self, corpus: Corpus) -> Self:
        """Learn from the training split."""


MAKERS: dict[str, Callable[..., Baseline]] = {
    "item_knn": ItemKNN,
    "item_knn_last": ItemKNN,
    "ease": EASE,
    "ease_decayed": EASE,
    "ials": IALS,
    "sasrec": SASRec,
    "sasrec_bce": SASRec,
    "gsasrec": SASRec,
    "bert4rec": BERT4Rec,
    "hstu": HSTU,
    "tiger": TIGER,
    "genrec": GenRec,
}
"""By the name of their section."""
READ_TEXT = {"tiger"}
"""Those that are also given the vectors of items' texts."""


def new_baselines(chosen: BaselinesSection, seed: int, features: Features) -> list[Baseline]:
    """Popular and all that are chosen, not yet fitted.

    Raises:
        ConfigError: two of them are the same, or one needs the text of items, which was not encoded.
    """
    names = [name for name in MAKERS if getattr(chosen, name) is not None]
    made = [Popular(PopularConfig()), *(new_baseline(name, chosen, seed, features) for name in names)]
    if twice := [name for name, count in Counter(model.name for model in made).items() if count > 1]:
        raise ConfigError(
            f"baselines: two sections make a model named {twice[0]}; change one's settings or set it to null"
        )
    return made


def new_baseline(name: str, chosen: BaselinesSection, seed: int, features: Features) -> Baseline:
    """The one of this name, which must be chosen, with the seed if it draws anything.

    Raises:
        ConfigError: it needs the text of items, which was not encoded.
    """
    settings = getattr(chosen, name)
    if "seed" in type(settings).model_fields:
        settings = settings.model_copy(update={"seed": seed})
    if name not in READ_TEXT:
        return MAKERS[name](settings)
    if TEXT not in features:
        raise ConfigError(
            f"baselines.{name} reads the text of items; set encode.text_model, or baselines.{name} to null"
        )
    return MAKERS[name](settings, features[TEXT].vectors)
