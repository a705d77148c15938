"""Submitted by a test: the package must come from the job's own copy, in the driver and in a worker."""

import platform

import ray

import llm4rec


@ray.remote
def where() -> str:
    import llm4rec

    return llm4rec.__file__


if __name__ == "__main__":
    ray.init()
    print("system", platform.system())
    print("driver", llm4rec.__file__)
    print("worker", ray.get(where.remote()))
