"""Entry point of a checkout: `python train.py fit --config …` is `lightning fit --config …`."""

from glassbox.cli.main import main

if __name__ == "__main__":
    main()
