"""Recommenders to beat: Popular, ItemKNN, EASE and SASRec, all with the same `fit` and `score`."""
