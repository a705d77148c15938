"""From scores to a slate: filters, steering, debiasing, diversity and a logging policy with known propensities."""
