"""The packaged language model's sizes."""

from llm4rec.language_model import load_config
from llm4rec.weights import SMOLLM2


def test_a_changed_configuration_is_nobody_elses() -> None:
    """They are read from the file once, and handed out as copies."""
    first = load_config(SMOLLM2, "train.model.backbone")
    depth = first.num_hidden_layers
    first.num_hidden_layers = 1
    assert load_config(SMOLLM2, "train.model.backbone").num_hidden_layers == depth > 1
