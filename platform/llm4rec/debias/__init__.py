"""Causal debiasing of a log: propensities, training weights, and the effects of popularity and exposure on outcome."""
