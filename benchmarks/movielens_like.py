"""A made-up folder in the shape of MovieLens-25M: its counts, headers and long tail, and nobody's ratings.

    python benchmarks/movielens_like.py --to /tmp/ml-25m                    # 25,000,095 ratings, 162,541 users
    python benchmarks/movielens_like.py --to /tmp/ml-2500k --share 0.1      # a tenth of the users and ratings

Every user has at least 20 ratings, as in the original; no user rates a movie twice; rows are sorted by user and movie.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

RATINGS, USERS, MOVIES = 25_000_095, 162_541, 62_423
RATED = 59_047
LARGEST_ID = 209_171
FIRST, LAST = 789_652_009, 1_574_327_703
GENRES = (
    *("Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "IMAX", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
USERS_AT_ONCE = 4_000
FEWEST = 20
MOST = 8_000
HEAVY = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--share", type=float, default=1.0, help="share of the users and ratings; all movies stay")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(arguments.seed)
    movie_ids = np.sort(rng.choice(np.arange(1, LARGEST_ID + 1), MOVIES, replace=False))
    write_movies(arguments.to / "movies.csv", movie_ids, rng)
    lengths = history_lengths(round(USERS * arguments.share), round(RATINGS * arguments.share), rng)
    write_ratings(arguments.to / "ratings.csv", rng.permutation(movie_ids)[:RATED], lengths, rng)
    print(f"{lengths.sum():,} ratings of {len(lengths):,} users in {arguments.to}")


def history_lengths(users: int, ratings: int, rng: np.random.Generator) -> np.ndarray:
    """Log-normal counts of at least 20 and at most 8,000 that add up to `ratings`, shape (users,)."""
    lengths = np.clip(FEWEST + rng.lognormal(3.9, 1.35, users), FEWEST, MOST)
    while abs(lengths.sum() - ratings) > users / 2:
        lengths = np.clip(FEWEST + (lengths - FEWEST) * (ratings - FEWEST * users) / (lengths - FEWEST).sum(), 0, MOST)
    whole = lengths.astype(np.int64)
    while short := int(ratings - whole.sum()):
        chosen = rng.integers(0, users, abs(short))
        whole[chosen] += np.sign(short)
        whole = np.clip(whole, FEWEST, MOST)
    return whole


def write_movies(path: Path, movie_ids: np.ndarray, rng: np.random.Generator) -> None:
    """movies.csv."""
    years = rng.integers(1915, 2020, len(movie_ids))
    titles = [f"Movie No. {movie_id}, The ({year})" for movie_id, year in zip(movie_ids, years, strict=True)]
    genres = ["|".join(sorted(rng.choice(GENRES, rng.integers(1, 5), replace=False))) for _ in movie_ids]
    with path.open("wb") as stream:
        stream.write(b"movieId,title,genres\n")
        table = pa.table({"movieId": movie_ids, "title": titles, "genres": genres})
        pacsv.write_csv(table, stream, pacsv.WriteOptions(include_header=False, quoting_style="needed"))


def write_ratings(path: Path, by_popularity: np.ndarray, lengths: np.ndarray, rng: np.random.Generator) -> None:
    """ratings.csv, a block of users at a time."""
    rank = np.arange(1, len(by_popularity) + 1)
    weights = 1 / (rank + 60) ** 1.35
    with path.open("wb") as stream:
        stream.write(b"userId,movieId,rating,timestamp\n")
        for first in range(0, len(lengths), USERS_AT_ONCE):
            counts = lengths[first : first + USERS_AT_ONCE]
            user, movie = _distinct(counts, weights, rng)
            start = rng.integers(FIRST, LAST - 86_400 * 30, len(counts))
            table = pa.table(
                {
                    "userId": user + first + 1,
                    "movieId": by_popularity[movie],
                    "rating": rng.choice([1.0, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0], len(user)),
                    "timestamp": start[user] + rng.integers(0, 86_400 * 30, len(user)),
                }
            )
            table = table.sort_by([("userId", "ascending"), ("movieId", "ascending")])
            pacsv.write_csv(table, stream, pacsv.WriteOptions(include_header=False))


def _distinct(counts: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Users and movies of `counts[u]` distinct movies a user, drawn by weight without replacement."""
    heavy = np.flatnonzero(counts > HEAVY)
    light = np.flatnonzero(counts <= HEAVY)
    # The smallest keys are a weighted draw without replacement (Efraimidis and Spirakis 2006).
    drawn = [
        np.argpartition(rng.standard_exponential(len(weights)) / weights, counts[user])[: counts[user]]
        for user in heavy
    ]
    user, movie = _by_rejection(counts[light], weights, rng)
    users = np.concatenate([np.repeat(heavy, counts[heavy]), light[user]])
    return users, np.concatenate([*drawn, movie])


def _by_rejection(counts: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The same for short histories: draw too many with replacement, and keep the first distinct ones."""
    size, cumulative = len(weights), np.cumsum(weights) / weights.sum()
    done = np.empty(0, np.int64)
    users = np.arange(len(counts))
    while len(users):
        user = np.repeat(users, 3 * counts[users] + 10)
        pairs = user * size + np.searchsorted(cumulative, rng.random(len(user))).clip(max=size - 1)
        pairs = pairs[np.sort(np.unique(pairs, return_index=True)[1])]  # the first of each, in the order drawn
        owner = pairs // size
        place = np.arange(len(pairs)) - np.searchsorted(owner, owner)
        full = np.bincount(owner, minlength=len(counts)) >= counts
        done = np.concatenate([done, pairs[full[owner] & (place < counts[owner])]])
        users = users[~full[users]]
    return done // size, done % size


if __name__ == "__main__":
    main()
