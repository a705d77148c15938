"""The recommender network: single-device torch code that knows nothing of clusters."""
