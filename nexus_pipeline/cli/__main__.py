"""`python -m nexus_pipeline.cli`: the command without its console script."""

from nexus_pipeline.cli.app import main

if __name__ == "__main__":
    main()
