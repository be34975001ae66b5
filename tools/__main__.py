"""The command line: python -m tools VERB."""

from tools.verbs import main

if __name__ == "__main__":
    main()
