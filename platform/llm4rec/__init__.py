"""LLM4Rec: recommendation with language models that a team can really run."""

__version__ = "0.1.0"
