"""``python -m tempograd``."""

from tempograd.cli import main

if __name__ == "__main__":
    main()
