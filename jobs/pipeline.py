"""pipeline: all offline stages, finished ones skipped.

Run it here, on a private local Ray:

    python jobs/pipeline.py --config configs/demo.yaml

or on a cluster:

    ray job submit --runtime-env runtime_env.yaml -- python jobs/pipeline.py --config configs/demo.yaml --home $PWD
"""

from llm4rec.cluster.command import main

if __name__ == "__main__":
    main("pipeline", __doc__)
