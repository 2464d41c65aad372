"""Asks a model about pictures through the stock Python client of Replicate.

python examples/replicate_client/ask.py OWNER/NAME FILE...
"""

import base64
import os
import sys
from pathlib import Path

import replicate

DATA = Path("~/.local/share/headrace").expanduser()


def main() -> None:
    """Prints one line for each picture."""
    model, files = sys.argv[1], sys.argv[2:]
    client = replicate.Client(
        base_url=os.environ.get("REPLICATE_BASE_URL") or (DATA / "address").read_text().strip(),
        api_token=os.environ.get("REPLICATE_API_TOKEN") or (DATA / "api-key").read_text().strip(),
    )
    for name in files:
        image = "data:image/png;base64," + base64.b64encode(Path(name).read_bytes()).decode()
        answer = client.run(model, input={"image": image})
        print(f"{name}: {answer['label']} ({answer['score']:.2f})")


if __name__ == "__main__":
    main()
