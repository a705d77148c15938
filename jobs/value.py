"""What a model's slates would earn, from the log of slates that the service has drawn so far.

    python jobs/value.py --config configs/demo.yaml --run runs/demo-2                       # another model
    python jobs/value.py --config configs/demo.yaml --set recommend.temperature=0.2         # other settings

`--config` is the service's. Looks at the first place of the newest plain requests (no words, filters or history): with
what chance would this model, as it is set here and without what was learnt online, have put the item there? Weighted by
that over the logged propensity (SNIPS), the share of them that earned something is what the model's own would. The
interval is over users. The mean weight should be near 1: much less says that the model would often draw what the log's
policy never did, of which the log tells nothing. Few effective slates say that the two differ too much. Nobody is shown
anything; jobs/publish.py --share tries a model on a part of the users.
"""

from llm4rec.cluster.command import job_parser, show_progress
from llm4rec.cluster.event_log import open_log
from llm4rec.cluster.run_config import load_run
from llm4rec.errors import told_in_one_line


def main() -> None:
    """Open the model and the log, and print what comes out."""
    parser = job_parser(__doc__)
    parser.add_argument("--run", help="run folder of the model; by default the service's own")
    parser.add_argument("--slates", type=int, default=2000, help="so many at most, the newest")
    options = parser.parse_args()
    show_progress()
    with told_in_one_line():
        service = load_run(options.config, options.set, options.home)
        other = [f"run.path={options.run}"] if options.run else []
        config = load_run(options.config, [*options.set, *other], options.home)
        log = open_log(service)
        # These take ten seconds, which mistakes of before need not wait for.
        from llm4rec.artifacts import RunStore
        from llm4rec.cluster.engine import Engine
        from llm4rec.cluster.snapshot import Snapshot
        from llm4rec.cluster.value import logged_value
        from llm4rec.encode.text import TextEncoder

        snapshot = Snapshot.open(RunStore(config.run.path), config)
        found = logged_value(Engine(snapshot, config, log, TextEncoder(config.encode)), log, options.slates)
        low, high = found.value.ci95
        print(f"slates {found.slates}  users {found.users}")
        print(f"first items as they were drawn  {found.logged:.4f} earned something")
        print(f"as {snapshot.version} draws them       {found.value.value:.4f} ({low:.4f} to {high:.4f})")
        print(f"mean weight {found.mean_weight:.3f}  effective slates {found.effective_slates:.0f}")


if __name__ == "__main__":
    main()
