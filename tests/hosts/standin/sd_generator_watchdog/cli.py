"""The host's own watchdogs: here they only note that they ran, and wait to be ended."""

import sys
import time
from pathlib import Path

if __name__ == "__main__":
    Path(f"ran-{sys.argv[1]}").write_text(" ".join(sys.argv[2:]))
    while True:
        time.sleep(60)
