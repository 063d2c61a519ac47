"""The command, also as `python -m sightline`."""

import sys


def main() -> None:
    """Run it; Ctrl-C while its modules are imported ends it as it does later, without a traceback."""
    try:
        from sightline.cli import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
