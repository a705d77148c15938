"""index: model + corpus + effects -> index (item vectors, evidence, repair, gate, prices, explainer).

Run it here, on a private local Ray:

    python jobs/index.py --config configs/demo.yaml

or on a cluster:

    ray job submit --runtime-env runtime_env.yaml -- python jobs/index.py --config configs/demo.yaml --home $PWD
"""

from llm4rec.cluster.command import main

if __name__ == "__main__":
    main("index", __doc__)
