"""refit: corpus + features + effects + model + index -> refit (the model that answers, having learnt of all).

Run it here, on a private local Ray:

    python jobs/refit.py --config configs/demo.yaml

or on a cluster:

    ray job submit --runtime-env runtime_env.yaml -- python jobs/refit.py --config configs/demo.yaml --home $PWD
"""

from llm4rec.cluster.command import main

if __name__ == "__main__":
    main("refit", __doc__)
