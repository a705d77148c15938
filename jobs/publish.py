"""Release a model to a running service, try it on a part of the users, or roll it back.

    python jobs/publish.py --config configs/demo.yaml --run runs/demo-2                # to everybody
    python jobs/publish.py --config configs/demo.yaml --run runs/demo-2 --share 0.1    # to a tenth of the users
    python jobs/publish.py --config configs/demo.yaml --roll-back
    python jobs/publish.py --config configs/demo.yaml --list

`--config` is the service's. The model is opened whole and tried on known choices beside the one that answers; a model
that is damaged, or loses more than `serve.canary_loss` of NDCG@10, is refused (exit 2) and nothing changes. Replicas
take a release over within seconds, without a restart; GET /v1/models tells how its slates do.
"""

from llm4rec.cluster.command import job_parser, show_progress
from llm4rec.cluster.event_log import open_log
from llm4rec.cluster.run_config import load_run
from llm4rec.errors import ConfigError, told_in_one_line


def main() -> None:
    """Publish, roll back or list."""
    parser = job_parser(__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", help="run folder of the model to release")
    what.add_argument("--roll-back", action="store_true", help="take the newest release back")
    what.add_argument("--list", action="store_true", help="show what was released")
    parser.add_argument("--share", type=float, default=1.0, help="of the users who get the model; default: all")
    options = parser.parse_args()
    show_progress()
    with told_in_one_line():
        config = load_run(options.config, options.set, options.home)
        if not 0 < options.share <= 1:
            raise ConfigError(f"--share is {options.share:g}, it must be above 0 and at most 1")
        released = [f"run.path={options.run}"] if options.run else []
        other = load_run(options.config, [*options.set, *released], options.home)
        events = open_log(config)
        # This takes ten seconds, which the mistakes above need not wait for.
        from llm4rec.cluster.publish import current, publish

        if options.run:
            publish(config, events, other.run.path, options.share)
        elif options.roll_back:
            events.roll_back(current(config, events)[0])
        _, routing = current(config, events)
        for release in events.releases() if options.list else []:
            print(release.sequence, release.step, release.version, f"{release.share:g}", release.path)
        trial = f", {routing.candidate.version} for {routing.candidate.share:g}" if routing.candidate else ""
        print(f"answers: {routing.main.version}{trial}")


if __name__ == "__main__":
    main()
