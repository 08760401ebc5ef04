"""Mqueduct's command line: ``python main.py --help``."""

from bootstrap import app
from core.cli import main

if __name__ == "__main__":
    main(app)
