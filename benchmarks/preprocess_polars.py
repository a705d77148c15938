"""The preprocess stage's job as one polars script in one process: what `benchmarks/preprocess.py` compares with.

    python benchmarks/preprocess_polars.py --source /tmp/ml-25m --to /tmp/polars-corpus

It reads ratings.csv and movies.csv whole, drops repeated rows, takes the 5-core, codes users and items, sorts by user
and time, marks both splits, and writes interactions, items and users as Parquet (zstd). It checks no rows, keeps no
quarantine, makes no report and cannot go on after a kill.
"""

import argparse
from pathlib import Path

import polars as pl

CORE = 5
VALID_SHARE = TEST_SHARE = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    schema = {"userId": pl.String, "movieId": pl.String, "rating": pl.Float32, "timestamp": pl.Int64}
    log = pl.read_csv(arguments.source / "ratings.csv", schema=schema).with_row_index("order")
    log = log.unique(["userId", "movieId", "timestamp"], keep="first", maintain_order=True)
    log = core(log)
    movies = pl.read_csv(arguments.source / "movies.csv", schema_overrides={"movieId": pl.String})
    items = coded(movies, log)
    users = log.select(pl.col("userId").unique().sort()).with_row_index("user")
    log = log.join(users, on="userId").join(items.select("movieId", "item"), on="movieId")
    log = split(log.sort("user", "timestamp", "order"))
    log.drop("order").write_parquet(arguments.to / "interactions.parquet", compression="zstd")
    items.write_parquet(arguments.to / "items.parquet", compression="zstd")
    users.write_parquet(arguments.to / "users.parquet", compression="zstd")
    print(f"{log.height:,} interactions, {users.height:,} users")


def core(log: pl.DataFrame) -> pl.DataFrame:
    """Users and items with at least 5 interactions, until nothing changes."""
    while True:
        kept = log.filter(pl.len().over("userId") >= CORE).filter(pl.len().over("movieId") >= CORE)
        if kept.height == log.height:
            return kept
        log = kept


def coded(movies: pl.DataFrame, log: pl.DataFrame) -> pl.DataFrame:
    """The catalogue with codes, items with interactions first, genres as lists and years as numbers."""
    warm = log.select(pl.col("movieId").unique()).with_columns(warm=pl.lit(True))
    items = movies.join(warm, on="movieId", how="left", maintain_order="left").with_columns(
        pl.col("warm").fill_null(False),
        pl.col("genres").str.split("|"),
        year=pl.col("title").str.extract(r"\((\d{4})\)\s*$").cast(pl.Float64),
    )
    return items.sort("warm", descending=True, maintain_order=True).with_row_index("item")


def split(log: pl.DataFrame) -> pl.DataFrame:
    """Leave-one-out by user, and two cuts of the whole log in time."""
    from_end = pl.len().over("user") - pl.int_range(pl.len()).over("user") - 1
    long_enough = pl.len().over("user") >= 3
    ordered = log["timestamp"].sort()
    end_of_valid = ordered[log.height - round(log.height * TEST_SHARE) - 1]
    end_of_train = ordered[log.height - round(log.height * TEST_SHARE) - round(log.height * VALID_SHARE) - 1]
    return log.with_columns(
        split=pl.when(long_enough & (from_end == 0))
        .then(pl.lit("test"))
        .when(long_enough & (from_end == 1))
        .then(pl.lit("valid"))
        .otherwise(pl.lit("train")),
        split_temporal=pl.when(pl.col("timestamp") > end_of_valid)
        .then(pl.lit("test"))
        .when(pl.col("timestamp") > end_of_train)
        .then(pl.lit("valid"))
        .otherwise(pl.lit("train")),
    )


if __name__ == "__main__":
    main()
